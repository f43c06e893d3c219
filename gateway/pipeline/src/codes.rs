//! The error codes of the pipeline, `QS02nn`.

quayside_model::codes! {
    XML_SYNTAX = "QS0201", "The XML of the body is not well-formed.",
        "Correct the document at the place that the message names.";
    DTD = "QS0202", "The XML of the body has a document type declaration.",
        "Send the document without `<!DOCTYPE ...>`: entity and attribute declarations are never read.";
    ENTITY = "QS0203", "The XML of the body refers to an entity that is not defined.",
        "Use `&lt; &gt; &amp; &apos; &quot;` or a character reference such as `&#228;`.";
    ENCODING = "QS0204", "The body is in an encoding that is not supported.",
        "Send UTF-8; XML may also be UTF-16 with a byte order mark.";
    BAD_UTF = "QS0205", "The bytes of the body are not valid in its encoding.",
        "Encode the body correctly; a document in another encoding than it says looks like this.";
    TOO_DEEP = "QS0206", "The body is nested deeper than the limit.",
        "Send a flatter document.";
    TOO_LONG = "QS0207", "A tag, name, attribute, key, number or run of text in the body is longer than the limit.",
        "Put long values into elements or members of their own.";
    TOO_MANY = "QS0208", "A tag of the body has more attributes or namespaces than the limit.",
        "Put the values into elements.";
    DUPLICATE_ATTRIBUTE = "QS0209", "A tag of the body has the same attribute twice.",
        "Leave one of them out.";
    UNDECLARED_PREFIX = "QS0210", "A prefix in the XML of the body is not declared, or a namespace declaration is not allowed.",
        "Declare the prefix on the element or around it with `xmlns:PREFIX`.";
    TRAILING = "QS0211", "There is more content after the end of the document.",
        "Send one document per body.";
    INCOMPLETE = "QS0212", "The body is empty or ends in the middle of the document.",
        "Send the whole document.";
    CHARACTER = "QS0213", "The body has a character that its format forbids, such as NUL.",
        "Leave control characters out.";
    JSON_SYNTAX = "QS0214", "The JSON of the body is not well-formed.",
        "Correct the document at the place that the message names.";
    LONE_SURROGATE = "QS0215", "A `\\u` escape in the JSON of the body is half of a surrogate pair.",
        "Escape both halves, or write the character itself.";
    DUPLICATE_KEY = "QS0216", "A member that is promoted occurs twice in one object.",
        "Leave one of them out: which one counts would be a guess.";
    UNEXPECTED_TYPE = "QS0217", "The message is of no type that the receive port expects.",
        "Send it to the location for its type, or name its type in `[message.NAME]` and `[receive.NAME]`.";
    REQUIRED = "QS0218", "A required property is not in the message.",
        "Send the value, or promote the property without `required`.";
    WRONG_TYPE = "QS0219", "A value to be promoted is not of the type of the property.",
        "Send a value of that type, or correct `type` in the promotion.";
    REPEATED = "QS0220", "A value to be promoted occurs more than once.",
        "Promote one of them by its position, as in `/o:Order/o:Line[1]/o:Sku`.";
    VALUE_TOO_LONG = "QS0221", "A value to be promoted is longer than a property can be.",
        "Promote a shorter value: 8 KiB are the most.";
    NOT_A_VALUE = "QS0222", "An object or array stands where a value is promoted.",
        "Promote a member or an element of it.";
    RULE = "QS0223", "A promotion does not say exactly how to find its value.",
        "Give `xpath`, `jsonpath` or both, and a property name of letters, digits, `-` and `_`.";
    XPATH = "QS0224", "An XPath cannot be read, or is not of the subset that the place allows.",
        "Write XPath 1.0, with prefixes that `namespaces` of the message declares; where a body is read as it comes in: child steps from the root, `[n]`, predicates on `local-name()` and `namespace-uri()`, and at the end `@name` or `text()`.";
    JSONPATH = "QS0225", "A JSONPath is not of the supported subset.",
        "Use member names and array positions from the root, as in `$.order.lines[0].sku`.";
    UNKNOWN_PREFIX = "QS0226", "An XPath uses a prefix that is not declared.",
        "Declare it in `[message.NAME.namespaces]`.";
    SCHEMA = "QS0227", "A schema cannot be used.",
        "Correct the file at the place that the message names, or name another one in `[message.NAME] schema`.";
    INVALID = "QS0228", "The message does not fit the schema of its type.",
        "Send a message that fits: each line of the cause names a place and what is wrong there.";
    NOT_VALIDATED = "QS0229", "A message could not be validated to its end.",
        "Send a smaller or simpler document, or set `validate = \"off\"` for it.";
    TOO_LARGE_TO_VALIDATE = "QS0230", "A JSON document is too large to be validated.",
        "Send at most 4 MiB, in several messages if need be, or set `validate = \"off\"` for it.";
    WHOLE_TOO_LARGE = "QS0231", "A document is too large for a promotion that needs the whole of it.",
        "Send at most 4 MiB and 200,000 values, or promote by a path that can be followed while the body comes in.";
    WHOLE_WORK = "QS0232", "A promotion that needs the whole document cannot be found in it.",
        "Correct the path, or write one that leads down from the root and has no `//`: what a document may cost is bounded.";
    WHOLE_PATH = "QS0233", "A promotion needs the whole document in memory.",
        "Nothing, if bodies stay below 4 MiB; else write a path of child steps from the root, as `docs/configuration.md` has it.";
    MAP_SYNTAX = "QS0240", "The file of a map is not TOML.",
        "Correct the file at the place that the message names.";
    MAP_UNKNOWN_KEY = "QS0241", "A key of a map is not known.",
        "Correct or remove the key; the message names the nearest one.";
    MAP_MISSING_KEY = "QS0242", "A map lacks something that it needs.",
        "Add what the message names.";
    MAP_FORM = "QS0243", "A value in a map does not have the form that belongs there.",
        "Write it in the form that the message names.";
    MAP_TARGET = "QS0244", "A target path of a map cannot be written, or does not fit the others.",
        "Write `/a:Request/a:Id` or `/a:Request/@id` for XML, `$.request.id` for JSON; in a `repeat` from there on.";
    MAP_PATH = "QS0245", "A source path of a map cannot be followed.",
        "Write an XPath for a source of XML and a JSONPath for one of JSON; `docs/maps.md` has what each can be.";
    MAP_NAME = "QS0246", "A map has nothing of this name.",
        "Correct the name, or declare it under `[source]`, `[param]`, `[table]` or the namespaces.";
    MAP_EXPRESSION = "QS0247", "An expression in a map cannot be read.",
        "Write an expression of the Common Expression Language; text in it stands in single quotes.";
    MAP_LANGUAGE = "QS0248", "The file of a map is in no language of maps.",
        "Write the map as `NAME.toml`; `docs/maps.md` has how.";
    MAP_TOO_LARGE = "QS0249", "A map is larger or nested deeper than the limit.",
        "Make two maps of it.";
    MAP_INPUTS = "QS0250", "A map was given other messages or parameters than it takes.",
        "Give it the messages in the order of its `[source]`, of the formats that stand there, and the parameters of its `[param]`.";
    MAP_INPUT_TOO_LARGE = "QS0251", "A document is too large to be mapped or assembled.",
        "Send at most 4 MiB and 200,000 values, in several messages if need be.";
    MAP_REQUIRED = "QS0252", "A value that a map requires is not there.",
        "Send the value, or give it a `default` in the map.";
    MAP_REPEATED = "QS0253", "A path of a map leads to several values where one is wanted.",
        "Take one of them by its position, as in `(/o:Order/o:Line)[1]/o:Sku`, or write a `repeat`.";
    MAP_TABLE = "QS0254", "A value is not in the look-up table of a map.",
        "Add it to the table, or give the table a `default`.";
    MAP_VALUE = "QS0255", "A value that a map has found cannot stand in its target.",
        "Send a value of that type, or correct `type` in the map.";
    MAP_EVALUATION = "QS0256", "An expression or path of a map could not be evaluated.",
        "Correct the data or the map.";
    MAP_WORK = "QS0257", "A map, or what assembles lines, takes more work on a document than the limit.",
        "Write paths from the match in a `repeat` instead of from the root, avoid `//`, or split the document.";
    MAP_OUTPUT = "QS0258", "What a map makes is larger than the limit.",
        "Map fewer values: 16 MiB are the most, and 1 MiB for one value.";
    COMPRESSED = "QS0260", "The compressed body is damaged, or ends too early.",
        "Send it again, as gzip; compress the whole body.";
    EXPANSION = "QS0261", "The body grows beyond the limit when it is decoded.",
        "Send several smaller messages; a body that grows far more than usual is taken for an attack.";
    BASE64 = "QS0262", "The body is not base64, or not quoted-printable, as it says.",
        "Encode it with the standard alphabet, padded with `=` to whole groups of four.";
    MULTIPART = "QS0263", "The multipart body is not of the form that its type says.",
        "Give `boundary` in the content type, begin every part with it and end the last one with `--BOUNDARY--`.";
    MULTIPART_LIMIT = "QS0264", "The multipart body has more parts, or longer headers, than the limit.",
        "Send fewer parts, or put long values into the parts themselves.";
    NO_BODY_PART = "QS0265", "No part of the multipart body is the one that is chosen as the body.",
        "Send a part of the content type or position that the choice names.";
    DECODE = "QS0266", "A body cannot be decoded as configured.",
        "Name stages that exist, in the order in which the sender's wrapping comes off.";
    ENCODE = "QS0267", "A body cannot be encoded as configured.",
        "Name stages that exist, in the order in which they are put around; a character set comes first.";
    UNMAPPABLE = "QS0268", "A body has a character that the character set of the receiver does not have.",
        "Leave it out, or send in a character set that has it, such as UTF-8.";
    OTHER_PARTS = "QS0269", "The multipart body has parts beside the one that is the body.",
        "Send the body alone, or set `others = \"drop\"` if the other parts may be left out.";
    SPLIT = "QS0270", "A body cannot be split as configured.",
        "Correct the key that the message names; docs/pipelines.md has the keys of each format.";
    NO_ENVELOPE = "QS0271", "The body is not the envelope, or has not the array, that it is to be split by.",
        "Send it to the location for its type, or correct `path`.";
    RECORD_TOO_LARGE = "QS0272", "A record is longer than the limit.",
        "Send smaller records, or raise `max_record_bytes`.";
    TOO_MANY_RECORDS = "QS0273", "The body has more records, or more bytes of records, than the limit.",
        "Send several smaller bodies, or raise `max_records` or `max_total_bytes`.";
    QUOTES = "QS0274", "A record has a quote where none may stand.",
        "Quote the whole field and double the quotes inside of it, or set `quote = \"\"` if quotes mean nothing.";
    OPEN_QUOTE = "QS0275", "A quote is never closed, so that nobody knows where the next record begins.",
        "Close it: the message names the line on which it was opened.";
    COLUMNS = "QS0276", "A record has not the columns that it should have.",
        "Send each column, also empty ones; the message names the record and its line.";
    CELL = "QS0277", "A value of a record is not of the type of its column, or is missing.",
        "Correct the value in the column that the message names, or `type` and `required` of the column.";
    TAG = "QS0278", "A line begins with no tag that is expected.",
        "Send only lines whose tag is that of the head, of a record or of the trailer.";
    HEAD = "QS0279", "The head of the body is missing, comes twice or cannot be read.",
        "Begin the body with the line that the message asks for.";
    TRAILER = "QS0280", "The trailer of the body is missing, is not the last line or cannot be read.",
        "Send the whole body: one that was cut off looks like this.";
    TRAILER_COUNT = "QS0281", "The trailer counts other than there is.",
        "Send the whole body, or correct the number in its trailer.";
    LATE_HEADER = "QS0282", "A value for every record of the body stands behind the first record.",
        "Put it before the records, or do not name it in `header`.";
    ASSEMBLE = "QS0283", "A file of lines cannot be assembled as configured.",
        "Correct the key that the message names; docs/pipelines.md has the keys.";
    FIELD = "QS0284", "A value cannot be written into its column of a line.",
        "Send a value of the type of the column, or correct the column that the message names.";
    FIELD_TOO_LONG = "QS0285", "A value is longer than its column of a line.",
        "Send a shorter value, or shorten it in a map: nothing is cut off here.";
    NO_RECORDS = "QS0286", "A document has no records to be assembled.",
        "Correct `path`, or set `empty = true` if a file without records is one.";
    FILE_TOO_LARGE = "QS0287", "What is assembled is larger than the limit.",
        "Send fewer records in a message: a file of 16 MiB is the largest.";
    STYLESHEET = "QS0290", "The file of a map is no stylesheet, or not well-formed.",
        "Correct the file at the place that the message names: `xsl:stylesheet` with `version`, in UTF-8 or UTF-16, without a type declaration.";
    STYLESHEET_SCRIPT = "QS0291", "A stylesheet has code of .NET, which only its own processor runs.",
        "Rewrite what it does in XSLT, or make the value in a declarative map; docs/maps.md has what stands for the functions of BizTalk.";
    STYLESHEET_REACH = "QS0292", "A stylesheet reads what is not in the folder of the application.",
        "Name only files of that folder, by plain paths from where the stylesheet lies.";
    JQ = "QS0293", "The file of a map is no program of jq.",
        "Correct the file at the place that the message names.";
    JQ_NAME = "QS0294", "A program of jq names a function or variable that is not there.",
        "Correct the name; a parameter of the map stands in its `params` in app.toml. docs/maps.md has which functions there are.";
    JQ_REACH = "QS0295", "A program of jq reaches outside of its document.",
        "Leave it out: a map has its document and its parameters alone, and is one file.";
}

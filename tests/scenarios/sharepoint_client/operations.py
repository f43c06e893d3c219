"""What the client Office365-REST-Python-Client does with a library, each operation with what must come of it.

    python operations.py SITE_URL CONTROL_URL

Prints a table, one line for each operation: its name, how many calls reached which front end, what was seen. Ends with 1
if anything is not as it must be. The client is used as it is: no patch, no handler of our own.
"""

import contextlib
import importlib.metadata
import io
import json
import os
import sys
import tempfile

import requests
from office365.runtime.auth.token_response import TokenResponse
from office365.runtime.client_request_exception import ClientRequestException
from office365.sharepoint.client_context import ClientContext
from office365.sharepoint.files.checkin_type import CheckinType
from office365.sharepoint.files.file import File
from office365.sharepoint.files.move_operations import MoveOperations
from office365.sharepoint.listitems.caml.query import CamlQuery
from office365.sharepoint.views.scope import ViewScope

SITE, CONTROL = sys.argv[1], sys.argv[2]
ROOT = "/sites/team/Shared Documents"
ODD = "O'Brien #1 50% a+b&c;d=e@f ä€.xml"
SAVE_CONFLICT, EXISTS, NO_FILE, CHECKED_OUT, NOT_CHECKED_OUT = (
    -2130246326,
    -2130575257,
    -2130575338,
    -2130575306,
    -2147024738,
)
OPERATIONS = []


def operation(function):
    OPERATIONS.append(function)
    return function


def context(token="t-app"):
    answer = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
    return ClientContext(SITE).with_access_token(lambda: TokenResponse.from_json(answer))


def folder(ctx, path=ROOT):
    return ctx.web.get_folder_by_server_relative_path(path)


def file(ctx, name):
    return ctx.web.get_file_by_server_relative_path(f"{ROOT}/{name}")


def documents(ctx):
    return ctx.web.lists.get_by_title("Documents")


def names(collection):
    return [one.name for one in collection]


def content(ctx, name):
    out = io.BytesIO()
    file(ctx, name).download(out).execute_query()
    return out.getvalue()


def equal(found, expected):
    assert found == expected, f"{found!r} instead of {expected!r}"


@contextlib.contextmanager
def refused(status, code):
    try:
        yield
    except ClientRequestException as error:
        found = int(str(error.code).split(",")[0])
        equal((error.response.status_code, found), (status, code))
        return
    raise AssertionError(f"it was not refused with {status} {code}")


def control(method, command, body=None):
    answer = requests.request(method, f"{CONTROL}/_control/{command}", json=body, timeout=10)
    answer.raise_for_status()
    return answer


def items():
    return {one["path"].removeprefix(f"{ROOT}/"): one for one in control("GET", "items").json()}


# Upload


@operation
def upload_small(ctx):
    made = folder(ctx).files.upload(io.BytesIO(b"<po/>"), "po 1.xml").execute_query()
    equal((made.name, made.length, made.exists), ("po 1.xml", 5, True))
    equal(items()["po 1.xml"]["version"], "1.0")
    return f"{made.unique_id} of 5 bytes"


@operation
def upload_over_a_relative_path(ctx):
    made = ctx.web.get_folder_by_server_relative_url("Shared Documents").upload_file("po 1.xml", b"<po>2</po>")
    made.execute_query()
    equal((made.length, items()["po 1.xml"]["version"]), (10, "2.0"))
    return "version 2.0"


@operation
def upload_special_characters(ctx):
    made = folder(ctx).files.add(ODD, b"<odd/>", True).execute_query()
    equal((made.name, made.server_relative_url), (ODD, f"{ROOT}/{ODD}"))
    equal(content(ctx, ODD), b"<odd/>")
    return made.name


@operation
def upload_more_special_characters(ctx):
    folder(ctx).upload_file("100% of '#7'.xml", b"<odd/>").execute_query()
    equal(content(ctx, "100% of '#7'.xml"), b"<odd/>")
    return "100% of '#7'.xml"


@operation
def upload_conflict(ctx):
    with refused(400, EXISTS):
        folder(ctx).files.add("po 1.xml", b"x", False).execute_query()
    equal(items()["po 1.xml"]["length"], 10)
    return f"400 {EXISTS}, nothing changed"


@operation
def upload_bad_name(ctx):
    with refused(400, -2130575245):
        folder(ctx).files.add("a:b.xml", b"x", True).execute_query()
    return "400 -2130575245"


@operation
def upload_chunked(ctx):
    data = os.urandom(2_500_000)
    with tempfile.NamedTemporaryFile() as source:
        source.write(data)
        source.flush()
        made = folder(ctx).files.create_upload_session(source.name, 1_000_000, file_name="big.bin").execute_query()
    equal(items()["big.bin"]["length"], 2_500_000)
    equal(content(ctx, "big.bin"), data)
    return f"{made.name}: 2500000 bytes in 3 pieces"


@operation
def upload_chunks_out_of_order(ctx):
    half = file(ctx, "big.bin")
    session = "0b2f3a52-5a0e-4a51-9d3b-6a3c4a3c5e10"
    equal(int(half.start_upload(session, b"abc").execute_query().value), 3)
    with refused(400, -2147024809):
        half.continue_upload(session, 7, b"def").execute_query()
    half.cancel_upload(session).execute_query()
    equal(items()["big.bin"]["length"], 2_500_000)
    return "refused, the old content stays"


# Download


@operation
def download(ctx):
    equal(content(ctx, "po 1.xml"), b"<po>2</po>")
    return "<po>2</po>"


@operation
def download_in_pieces(ctx):
    out = io.BytesIO()
    file(ctx, "big.bin").download_session(out, chunk_size=100_000).execute_query()
    equal(len(out.getvalue()), 2_500_000)
    return "2500000 bytes"


@operation
def download_the_rest(ctx):
    equal(file(ctx, "po 1.xml").get_content(start=4).execute_query().value, b"2</po>")
    return "from byte 4 on"


@operation
def download_missing(ctx):
    with refused(404, NO_FILE):
        file(ctx, "nope.xml").get().execute_query()
    equal(file(ctx, "nope.xml").get_exists().execute_query().value, False)
    return f"404 {NO_FILE}"


# List


@operation
def list_files(ctx):
    found = folder(ctx).files.get().execute_query()
    equal(sorted(names(found)), sorted(["po 1.xml", "big.bin", ODD, "100% of '#7'.xml"]))
    return f"{len(found)} files"


@operation
def list_files_sorted(ctx):
    found = folder(ctx).files.select(["Name", "Length"]).filter("Length gt 9").top(1).get().execute_query()
    equal(names(found), ["big.bin"])
    return "big.bin"


@operation
def list_folder_with_its_files(ctx):
    found = folder(ctx).expand(["Files", "Folders"]).get().execute_query()
    equal(len(found.files), 4)
    return f"{len(found.files)} files, {len(found.folders)} folders"


@operation
def list_libraries(ctx):
    found = ctx.web.lists.get().execute_query()
    equal([one.title for one in found], ["Documents", "Archive"])
    return "Documents, Archive"


@operation
def list_items_page_by_page(ctx):
    for n in range(7):
        folder(ctx).files.add(f"page {n}.xml", b"<p/>", True)
    ctx.execute_query()
    found = documents(ctx).items.get_all(3).execute_query()
    numbers = [one.id for one in found]
    equal(numbers, sorted(set(numbers)))
    equal(len(numbers), 11)
    return f"{len(numbers)} items in 4 pages"


@operation
def list_items_filtered(ctx):
    wanted = documents(ctx).items.select(["Id", "FileRef", "FileLeafRef"])
    found = wanted.filter("startswith(FileLeafRef,'page') and FSObjType eq 0").top(3).get().execute_query()
    equal([one.properties["FileLeafRef"] for one in found][:3], ["page 0.xml", "page 1.xml", "page 2.xml"])
    return "page 0.xml, page 1.xml, page 2.xml, ..."


@operation
def list_items_by_caml(ctx):
    query = "<Where><BeginsWith><FieldRef Name='FileLeafRef'/><Value Type='Text'>page</Value></BeginsWith></Where>"
    query += "<OrderBy><FieldRef Name='FileLeafRef' Ascending='FALSE'/></OrderBy>"
    found = documents(ctx).get_items(CamlQuery.parse(query, ViewScope.RecursiveAll)).execute_query()
    equal(len(found), 7)
    numbers = [one.id for one in found]
    equal(numbers, sorted(numbers, reverse=True))
    return f"{len(found)} items, the last first"


@operation
def list_items_by_caml_page_by_page(ctx):
    query = CamlQuery()
    query.ViewXml = "<View Scope='RecursiveAll'><Query></Query><RowLimit Paged='TRUE'>4</RowLimit></View>"
    found = [one.id for one in documents(ctx).get_items(query, page_size=4).execute_query()]
    equal((len(found), len(set(found))), (11, 11))
    return f"{len(found)} items in 3 pages"


@operation
def list_all_by_caml(ctx):
    found = documents(ctx).get_items().execute_query()
    equal(len(found), 11)
    return f"{len(found)} items"


@operation
def list_by_view(ctx):
    view = documents(ctx).views.get_by_title("Approved").get().execute_query()
    query = CamlQuery.parse(view.view_query, ViewScope.RecursiveAll)
    equal(len(documents(ctx).get_items(query).execute_query()), 0)
    item = file(ctx, "page 3.xml").listItemAllFields
    item.set_property("Status", "Approved").update().execute_query()
    found = documents(ctx).get_items(query).execute_query()
    equal(len(found), 1)
    return f"{view.title}: 0 items, then {len(found)}"


# Metadata


@operation
def metadata_by_merge(ctx):
    item = file(ctx, "po 1.xml").listItemAllFields
    item.set_property("Title", "PO 1").set_property("Status", "New").set_property("Amount", 12.5).update()
    item.execute_query()
    fields = items()["po 1.xml"]["fields"]
    equal(fields, {"Title": "PO 1", "Status": "New", "Amount": 12.5})
    return json.dumps(fields)


@operation
def metadata_of_an_item(ctx):
    number = items()["po 1.xml"]["id"]
    item = documents(ctx).items.get_by_id(number).get().execute_query()
    equal((item.properties["Title"], item.properties["Status"]), ("PO 1", "New"))
    item.set_property("Title", "PO 1a").update().execute_query()
    equal(items()["po 1.xml"]["fields"]["Title"], "PO 1a")
    return "PO 1a"


@operation
def metadata_of_an_unknown_column(ctx):
    item = file(ctx, "po 1.xml").listItemAllFields
    with refused(400, -1):
        item.set_property("Nothing", "x").update().execute_query()
    return "400 -1"


@operation
def metadata_by_form(ctx):
    item = file(ctx, "po 1.xml").listItemAllFields
    values = {"Title": "PO 1b", "Due": "2/23/2026"}
    done = item.validate_update_list_item(values, new_document_update=True).execute_query().value
    equal([one.HasException for one in done], [False, False])
    one = items()["po 1.xml"]
    equal((one["fields"]["Title"], one["fields"]["Due"]), ("PO 1b", "2026-02-23T00:00:00Z"))
    return "PO 1b, 2026-02-23, no new version"


@operation
def metadata_by_form_with_a_wrong_date(ctx):
    item = file(ctx, "po 1.xml").listItemAllFields
    done = item.validate_update_list_item({"Due": "2026-33-33"}, new_document_update=True).execute_query().value
    equal((done[0].HasException, done[0].ErrorCode), (True, -2146232832))
    return done[0].ErrorMessage


@operation
def rename(ctx):
    folder(ctx).files.add("old name.xml", b"x", True).execute_query()
    file(ctx, "old name.xml").rename("new name.xml").execute_query()
    assert "new name.xml" in items() and "old name.xml" not in items()
    file(ctx, "new name.xml").delete_object().execute_query()
    return "new name.xml"


# Checkout


@operation
def checkout_and_checkin(ctx):
    before = items()["po 1.xml"]["version"]
    one = file(ctx, "po 1.xml")
    one.checkout().execute_query()
    assert items()["po 1.xml"]["checked_out_by"], "it is not checked out"
    one.checkin("done", CheckinType.MajorCheckIn).execute_query()
    after = items()["po 1.xml"]
    equal(after["checked_out_by"], None)
    return f"version {before} -> {after['version']}"


@operation
def checkout_and_undo(ctx):
    one = file(ctx, "po 1.xml")
    one.checkout().execute_query()
    one.undocheckout().execute_query()
    equal(items()["po 1.xml"]["checked_out_by"], None)
    return "as before"


@operation
def checkout_keeps_others_out(ctx):
    file(ctx, "po 1.xml").checkout().execute_query()
    other = context("t-other")
    with refused(423, CHECKED_OUT):
        file(other, "po 1.xml").checkout().execute_query()
    with refused(423, CHECKED_OUT):
        folder(other).files.add("po 1.xml", b"x", True).execute_query()
    folder(ctx).files.add("po 1.xml", b"<draft/>", True).execute_query()
    equal((content(ctx, "po 1.xml"), content(other, "po 1.xml")), (b"<draft/>", b"<po>2</po>"))
    file(ctx, "po 1.xml").undocheckout().execute_query()
    equal(content(ctx, "po 1.xml"), b"<po>2</po>")
    return f"423 {CHECKED_OUT}; the draft is the owner's alone"


@operation
def checkin_of_what_is_not_checked_out(ctx):
    with refused(423, NOT_CHECKED_OUT):
        file(ctx, "po 1.xml").checkin("", CheckinType.MajorCheckIn).execute_query()
    return f"423 {NOT_CHECKED_OUT}"


# Folders, copies, moves


@operation
def folders(ctx):
    made = folder(ctx).folders.add("In").execute_query()
    again = folder(ctx).folders.add("In").execute_query()
    equal(made.properties["UniqueId"], again.properties["UniqueId"])
    ctx.web.ensure_folder_path("Shared Documents/Out/2026").execute_query()
    found = folder(ctx).folders.get().execute_query()
    equal(sorted(names(found)), ["In", "Out"])
    return "In, Out/2026; a second add is no error"


@operation
def copy(ctx):
    file(ctx, "po 1.xml").copyto(f"{ROOT}/In", True).execute_query()
    all_items = items()
    assert all_items["In/po 1.xml"]["unique_id"] != all_items["po 1.xml"]["unique_id"]
    return "a new UniqueId"


@operation
def move(ctx):
    before = items()["po 1.xml"]["unique_id"]
    file(ctx, "po 1.xml").moveto(folder(ctx, f"{ROOT}/Out/2026"), 0).execute_query()
    equal(items()["Out/2026/po 1.xml"]["unique_id"], before)
    return "the same UniqueId"


@operation
def move_onto_a_name(ctx):
    folder(ctx).files.add("po 1.xml", b"<third/>", True).execute_query()
    with refused(400, EXISTS):
        file(ctx, "po 1.xml").moveto(folder(ctx, f"{ROOT}/In"), 0).execute_query()
    one = file(ctx, "po 1.xml")
    one.move_to_using_path(folder(ctx, f"{ROOT}/In"), MoveOperations.overwrite).execute_query()
    equal(content(ctx, "In/po 1.xml"), b"<third/>")
    return f"400 {EXISTS}, then over it"


@operation
def move_by_path(ctx):
    one = file(ctx, "In/po 1.xml")
    one.move_by_path(folder(ctx, f"{ROOT}/Out"), MoveOperations.overwrite).execute_query()
    assert "Out/po 1.xml" in items() and "In/po 1.xml" not in items()
    return "Out/po 1.xml"


@operation
def move_special_characters(ctx):
    file(ctx, ODD).move_to_using_path(folder(ctx, f"{ROOT}/Out"), MoveOperations.none).execute_query()
    assert f"Out/{ODD}" in items()
    return f"Out/{ODD}"


# Delete


@operation
def delete(ctx):
    file(ctx, "Out/po 1.xml").delete_object().execute_query()
    with refused(404, NO_FILE):
        file(ctx, "Out/po 1.xml").delete_object().execute_query()
    return f"gone, then 404 {NO_FILE}"


@operation
def recycle(ctx):
    bin_id = file(ctx, "big.bin").recycle().execute_query().value
    found = control("GET", "recycled").json()
    equal([one["id"] for one in found if one["path"].endswith("/big.bin")], [str(bin_id)])
    assert "big.bin" not in items()
    return str(bin_id)


@operation
def recycle_an_item(ctx):
    number = items()["page 6.xml"]["id"]
    documents(ctx).items.get_by_id(number).recycle().execute_query()
    assert "page 6.xml" not in items()
    return "page 6.xml"


# Batches


@operation
def batch_of_reads(ctx):
    found = folder(ctx).files.get()
    web = ctx.web.get()
    ctx.execute_batch()
    equal(web.properties["ServerRelativeUrl"], "/sites/team")
    assert len(found) > 5
    return f"{len(found)} files and the web"


@operation
def batch_of_writes(ctx):
    for n in range(3):
        file(ctx, f"page {n}.xml").delete_object()
    ctx.execute_batch()
    assert not {f"page {n}.xml" for n in range(3)} & set(items())
    return "3 deletes"


# Trouble


@operation
def digest_expired(ctx):
    control("POST", "faults", {"kind": "digest", "call": "AddFile", "next": 1})
    folder(ctx).files.add("digest.xml", b"x", True).execute_query()
    assert "digest.xml" in items()
    return "a new digest, the same call again"


@operation
def throttled(ctx):
    control("POST", "faults", {"kind": "status", "call": "AddFile", "status": 429, "retry_after": 1, "next": 1})
    folder(ctx).files.add("throttled.xml", b"x", True)
    ctx.execute_query_retry(max_retry=3, timeout_secs=1)
    assert "throttled.xml" in items()
    return "429, then done"


@operation
def save_conflict(ctx):
    control("POST", "faults", {"kind": "status", "call": "AddFile", "status": 409, "next": 1})
    with refused(409, SAVE_CONFLICT):
        folder(ctx).files.add("conflict.xml", b"x", True).execute_query()
    assert "conflict.xml" not in items()
    return f"409 {SAVE_CONFLICT}"


@operation
def shared_lock(ctx):
    control("PUT", f"lock?path={ROOT}/digest.xml", {"kind": "shared", "by": "i:0#.f|membership|u"})
    with refused(423, -2147018894):
        file(ctx, "digest.xml").delete_object().execute_query()
    file(ctx, "digest.xml").delete_object(bypass_shared_lock=True).execute_query()
    assert "digest.xml" not in items()
    return "423 -2147018894, then past it"


@operation
def front_end_killed_after_the_commit(ctx):
    control("POST", "faults", {"kind": "kill-after", "call": "AddFile", "next": 1, "down_ms": 200})
    try:
        folder(ctx).files.add("killed.xml", b"x", True).execute_query()
        seen = "an answer"
    except (requests.RequestException, ClientRequestException) as error:
        seen = type(error).__name__
    assert "killed.xml" in items()
    equal(content(ctx, "killed.xml"), b"x")
    return f"{seen}; the document is there"


def log(start):
    lines = control("GET", f"log?from={start}").text.splitlines()
    return [json.loads(line) for line in lines]


def main():
    print(f"client {importlib.metadata.version('office365-rest-python-client')}")
    print(f"{'operation':44} {'calls':>5} {'fe 0':>5} {'fe 1':>5}  seen")
    failures, seen_calls, by_front_end = 0, 0, [0, 0]
    for function in OPERATIONS:
        try:
            result, mark = function(context()), "ok  "
        except Exception as error:  # noqa: BLE001: whatever goes wrong is a deviation and is told
            result, mark = f"{type(error).__name__}: {error}", "FAIL"
            failures += 1
            control("DELETE", "faults")
        calls = log(seen_calls)
        seen_calls += len(calls)
        here = [sum(call["front_end"] == n for call in calls) for n in (0, 1)]
        by_front_end = [a + b for a, b in zip(by_front_end, here)]
        print(f"{mark} {function.__name__:39} {len(calls):5} {here[0]:5} {here[1]:5}  {result}")
    print(f"{len(OPERATIONS)} operations, {failures} deviations, calls by front end {by_front_end}")
    assert min(by_front_end) > 0, "one of the front ends was never asked"
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())

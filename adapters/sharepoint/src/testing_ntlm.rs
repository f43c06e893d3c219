//! The farm's side of NTLM, for tests: as much of it as its messages.

/// The number of a message.
pub(crate) fn kind(message: &[u8]) -> Option<u32> {
    let rest = message.strip_prefix(b"NTLMSSP\0")?;
    Some(u32::from_le_bytes(rest.get(..4)?.try_into().ok()?))
}

/// A second message: that of the example of the specification, with a domain and a server.
pub(crate) fn question() -> Vec<u8> {
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let target = wide("Server");
    let mut facts = Vec::new();
    for (id, text) in [(2_u16, "Domain"), (1, "Server")] {
        let text = wide(text);
        facts.extend_from_slice(&id.to_le_bytes());
        facts.extend_from_slice(&u16::try_from(text.len()).expect("short").to_le_bytes());
        facts.extend_from_slice(&text);
    }
    facts.extend_from_slice(&[0; 4]);
    let mut message = Vec::from(b"NTLMSSP\0");
    message.extend_from_slice(&2_u32.to_le_bytes());
    let field = |message: &mut Vec<u8>, bytes: &[u8], offset: usize| {
        let length = u16::try_from(bytes.len()).expect("short").to_le_bytes();
        message.extend_from_slice(&length);
        message.extend_from_slice(&length);
        message.extend_from_slice(&u32::try_from(offset).expect("short").to_le_bytes());
    };
    field(&mut message, &target, 56);
    message.extend_from_slice(&0xA08A_8205_u32.to_le_bytes());
    message.extend_from_slice(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    message.extend_from_slice(&[0; 8]);
    field(&mut message, &facts, 56 + target.len());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&target);
    message.extend_from_slice(&facts);
    message
}

//! What the examples need to print as their Python originals do. Not part of the library.

#![allow(dead_code, reason = "each example uses its part of this")]

use millstream::Address;

/// Quotes received bytes as `repr(data.decode())` does: `'Hello World!'`.
pub(crate) fn quoted(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);

    // Python takes the double quotes only where they save a backslash.
    let saves_a_backslash = text.contains('\'') && !text.contains('"');
    let quote = if saves_a_backslash { '"' } else { '\'' };

    let mut quoted = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str(r"\n"),
            '\r' => quoted.push_str(r"\r"),
            '\t' => quoted.push_str(r"\t"),
            _ if c == quote || c == '\\' => quoted.extend(['\\', c]),
            _ if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

/// Shows an address as Python's socket module does: `('127.0.0.1', 8888)`.
pub(crate) fn tuple(address: &Address) -> String {
    match address {
        Address::Inet(inet) if inet.is_ipv6() => {
            format!("('{}', {}, 0, 0)", inet.ip(), inet.port())
        }
        Address::Inet(inet) => format!("('{}', {})", inet.ip(), inet.port()),
        other => quoted(other.to_string().as_bytes()),
    }
}

//! passwd(5): who a user's number is.

/// `alice (user 1000)`, as the `text` of the file knows it; `user 1000` where it does not.
pub fn name(text: &str, uid: u32) -> String {
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then_some(name)
    });
    match name.filter(|name| name.chars().all(|c| c.is_ascii_graphic())) {
        Some(name) => format!("{name} (user {uid})"),
        None => format!("user {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_number_is_named_if_it_has_a_name() {
        let text = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(name(text, 1000), "alice (user 1000)");
        assert_eq!(name(text, 4242), "user 4242");
    }
}

//! Text that YAML misreads unless it is quoted: finding it, and writing the corrected line.

/// What to write instead of the line at `offset`, or of the one before it, where readers notice a mistake late.
pub(super) fn advice_around(text: &str, offset: usize) -> Option<String> {
    advice_at(text, offset).or_else(|| {
        let start = line_start(text, offset);
        advice_at(text, text[..start].trim_end().len())
    })
}

/// What to write instead of the line at `offset`, if quoting would repair it.
pub(super) fn advice_at(text: &str, offset: usize) -> Option<String> {
    let start = line_start(text, offset);
    let line = text[start..].split('\n').next().unwrap_or_default().trim_end();
    corrected(line).map(|line| format!("quote this: `{}`", line.trim_start()))
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].rfind('\n').map_or(0, |at| at + 1)
}

/// The line with its value quoted, if its value is one that YAML misreads.
fn corrected(line: &str) -> Option<String> {
    let body = line.trim_start();
    let indent = &line[..line.len() - body.len()];
    let (dash, body) = body.strip_prefix("- ").map_or(("", body), |rest| ("- ", rest));
    if body.starts_with('#') {
        return None;
    }
    let (key, value) = match body.split_once(": ") {
        Some((key, value)) if is_plain_key(key) => (Some(key), value.trim()),
        // Neither an entry nor an item: there is no value to quote.
        _ if dash.is_empty() => return None,
        _ => (None, body.trim()),
    };
    let fixed = if let Some(items) = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        if items.contains(['{', '[']) {
            return None;
        }
        let items: Vec<_> = items.split(',').map(str::trim).collect();
        if !items.iter().any(|item| is_misread(item)) {
            return None;
        }
        let quoted: Vec<_> = items
            .iter()
            .map(|item| {
                if is_misread(item) {
                    quoted(item)
                } else {
                    (*item).to_owned()
                }
            })
            .collect();
        format!("[{}]", quoted.join(", "))
    } else if is_misread(value) {
        quoted(value)
    } else {
        return None;
    };
    let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
    Some(format!("{indent}{dash}{key}{fixed}"))
}

fn is_plain_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// Whether an unquoted value means something else to YAML, or nothing.
fn is_misread(value: &str) -> bool {
    let Some(first) = value.chars().next() else {
        return false;
    };
    match first {
        '"' | '\'' | '|' | '>' | '[' => false,
        '*' => value.contains(['/', '.', '*', ' ']) && value.len() > 1 && !is_alias(value),
        '{' => value.starts_with("{{") || value.starts_with("{%"),
        // A comment ends a plain text, so it cannot be told what was meant.
        _ if value.contains(" #") => false,
        '@' | '`' | '%' => true,
        '&' => false,
        '!' => value.contains(['/', '*']),
        _ => value.contains(": ") || value.ends_with(':') || value.contains("{{"),
    }
}

fn is_alias(value: &str) -> bool {
    value[1..]
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// The value as a quoted YAML scalar.
pub(super) fn quoted(value: &str) -> String {
    if value.contains(['"', '\\']) {
        format!("'{}'", value.replace('\'', "''"))
    } else {
        format!("\"{value}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::advice_at;

    #[test]
    fn a_value_that_yaml_misreads_is_quoted_in_its_line() {
        for (line, fixed) in [
            ("  title: fix: it", "title: \"fix: it\""),
            ("  - **/*.rs", "- \"**/*.rs\""),
            ("run: {{ x }}", "run: \"{{ x }}\""),
            ("run: say \"a: b\": c", "run: 'say \"a: b\": c'"),
            ("paths: [a, *.md]", "paths: [a, \"*.md\"]"),
            ("user: @me", "user: \"@me\""),
        ] {
            assert_eq!(
                advice_at(line, 0),
                Some(format!("quote this: `{fixed}`")),
                "{line}"
            );
        }
    }

    #[test]
    fn a_line_that_yaml_reads_well_gets_no_advice() {
        for line in [
            "units:",
            "a: b",
            "a: *alias",
            "a: &anchor [x]",
            "a: [{b: c}]",
            "a: 'x: y'",
            "# a: b: c",
            "a: |",
            "",
        ] {
            assert_eq!(advice_at(line, 0), None, "{line}");
        }
    }
}

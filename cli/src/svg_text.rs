//! Text in an SVG.

use std::fmt::{self, Display, Write};

/// A line of text at a place.
pub(crate) fn write_text(
    svg: &mut String,
    x: usize,
    y: usize,
    class: &str,
    text: impl Display,
) -> fmt::Result {
    let text = Escaped(text);
    writeln!(
        svg,
        r#"<text class="{class}" x="{x}" y="{y}">{text}</text>"#
    )
}

/// Text in XML: what would be markup is escaped, what XML has no place for is replaced.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.to_string().chars() {
            match character {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                // XML 1.0, 2.2: no control characters, and not these two.
                '\u{fffe}' | '\u{ffff}' => f.write_char(char::REPLACEMENT_CHARACTER)?,
                control if control.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_control_characters_do_not_get_into_the_file() {
        assert_eq!(
            Escaped("</desc><script>\"&\" \u{1b}[2J\n").to_string(),
            "&lt;/desc&gt;&lt;script&gt;&quot;&amp;&quot; \u{fffd}[2J\u{fffd}"
        );
    }
}

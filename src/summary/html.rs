//! HTML as the plain text a person would read: words, lines, links. It runs nothing, fetches nothing, and takes broken
//! markup for text rather than lose it; its work grows with the input and no faster.

use mail_parser::decoders::html::add_html_token;

use super::guarded;

/// A character reference is at most this long.
const ENTITY_BYTES: usize = 34;

/// The text of an HTML document.
pub(super) fn text_of(html: &str) -> String {
    let mut page = Page { out: String::with_capacity(html.len() / 2), ..Page::default() };
    let mut rest = html;
    while !rest.is_empty() {
        let Some(at) = rest.find(['<', '&']) else {
            page.words(rest);
            break;
        };
        let (before, from) = rest.split_at(at);
        page.words(before);
        rest = if from.starts_with('&') { page.entity(from) } else { page.markup(from) };
    }
    page.out.truncate(page.out.trim_end().len());
    page.out
}

#[derive(Default)]
struct Page {
    out: String,
    /// A blank is due before the next word.
    blank: bool,
    /// Line ends due before the next word.
    breaks: usize,
    /// Inside `<pre>`, so deep.
    pre: usize,
    /// Where the link that is open leads, and where its text began.
    link: Option<(String, usize)>,
    /// A quote was never closed: they are not to be trusted from here on.
    loose_quotes: bool,
    /// There is no `>` any more.
    no_tags: bool,
    /// There is no `-->` any more.
    no_comments: bool,
}

impl Page {
    fn words(&mut self, text: &str) {
        if self.pre > 0 {
            if !text.is_empty() {
                self.due();
                self.out.push_str(text);
            }
            return;
        }
        let words = text.split(char::is_whitespace);
        let mut first = true;
        for word in words {
            self.blank |= !first;
            first = false;
            if !word.is_empty() {
                self.due();
                self.out.push_str(word);
            }
        }
    }

    /// Writes the blank or the line ends that are due.
    fn due(&mut self) {
        if self.out.is_empty() {
            (self.breaks, self.blank) = (0, false);
        } else if self.breaks > 0 {
            self.out.extend(std::iter::repeat_n('\n', self.breaks));
        } else if self.blank && !self.out.ends_with(char::is_whitespace) {
            self.out.push(' ');
        }
        (self.breaks, self.blank) = (0, false);
    }

    fn entity<'a>(&mut self, from: &'a str) -> &'a str {
        let end = from.bytes().take(ENTITY_BYTES).position(|byte| byte == b';');
        let name = end
            .and_then(|end| from.get(..=end))
            .filter(|name| name.bytes().skip(1).all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'#' | b';')));
        let Some(name) = name.filter(|name| name.len() > 2) else {
            self.words("&");
            return from.get(1..).unwrap_or_default();
        };
        let character = guarded(|| {
            let mut out = String::new();
            add_html_token(&mut out, name.as_bytes(), false);
            Some(out)
        });
        self.words(character.as_deref().unwrap_or(name));
        from.get(name.len()..).unwrap_or_default()
    }

    /// What begins with `<`: a comment, a tag, or no markup at all.
    fn markup<'a>(&mut self, from: &'a str) -> &'a str {
        if let Some(comment) = from.strip_prefix("<!--") {
            if self.no_comments {
                return comment;
            }
            let end = comment.find("-->");
            self.no_comments = end.is_none();
            return end.and_then(|end| comment.get(end + 3..)).unwrap_or(comment);
        }
        let second = from.as_bytes().get(1).copied().unwrap_or_default();
        if self.no_tags || !(second.is_ascii_alphabetic() || matches!(second, b'/' | b'!' | b'?')) {
            self.words("<");
            return from.get(1..).unwrap_or_default();
        }
        let Some(end) = self.tag_end(from) else {
            self.no_tags = true;
            self.words("<");
            return from.get(1..).unwrap_or_default();
        };
        let (inside, rest) = (from.get(1..end).unwrap_or_default(), from.get(end + 1..).unwrap_or_default());
        let (closing, inside) = inside.strip_prefix('/').map_or((false, inside), |inside| (true, inside));
        let length = inside.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(inside.len());
        let (name, attributes) = inside.split_at(length);
        let name = name.to_ascii_lowercase();
        if !closing && matches!(name.as_str(), "script" | "style" | "title" | "template") && !attributes.ends_with('/') {
            return skip_to_end(rest, &name);
        }
        self.tag(&name, closing, attributes);
        rest
    }

    /// Where the tag ends; a `>` in quotes does not count.
    fn tag_end(&mut self, from: &str) -> Option<usize> {
        let mut quote = None;
        if !self.loose_quotes {
            let mut before = b' ';
            for (at, byte) in from.bytes().enumerate() {
                match (quote, byte) {
                    // A quote counts only as an attribute's value.
                    (None, b'"' | b'\'') if before == b'=' => quote = Some(byte),
                    (None, b'>') => return Some(at),
                    (Some(open), _) if byte == open => quote = None,
                    _ => {}
                }
                if !byte.is_ascii_whitespace() {
                    before = byte;
                }
            }
            self.loose_quotes = true;
        }
        from.find('>')
    }

    fn tag(&mut self, name: &str, closing: bool, attributes: &str) {
        match name {
            "br" => self.breaks = (self.breaks + 1).min(2),
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "dl" | "table" | "blockquote" => self.paragraph(2),
            "pre" => {
                self.paragraph(2);
                self.pre = if closing { self.pre.saturating_sub(1) } else { self.pre + 1 };
            }
            "hr" => {
                self.paragraph(1);
                self.words("--------");
                self.paragraph(1);
            }
            "li" => {
                self.paragraph(1);
                if !closing {
                    self.due();
                    self.out.push_str("* ");
                }
            }
            "td" | "th" => self.blank = true,
            "div" | "tr" | "dt" | "dd" | "section" | "article" | "header" | "footer" | "address" | "center" | "form" | "fieldset"
            | "body" | "caption" | "aside" | "main" | "nav" | "figure" => self.paragraph(1),
            "img" => {
                if let Some(text) = attribute(attributes, "alt").filter(|text| !text.trim().is_empty()) {
                    self.words(&format!("[{}]", unescaped(&text).trim()));
                }
            }
            "a" if !closing => {
                self.leave_link();
                let target = attribute(attributes, "href").map(|target| unescaped(&target).trim().to_owned());
                self.link = target.filter(|target| leads_somewhere(target)).map(|target| (target, self.out.len()));
            }
            "a" => self.leave_link(),
            _ => {}
        }
    }

    /// At least so many line ends before the next word.
    fn paragraph(&mut self, breaks: usize) {
        self.breaks = self.breaks.max(breaks);
    }

    fn leave_link(&mut self) {
        let Some((target, began)) = self.link.take() else { return };
        let shown = self.out.get(began..).unwrap_or_default().trim();
        let bare = target.strip_prefix("mailto:").unwrap_or(&target);
        if !shown.is_empty() && shown != bare && shown != target {
            let breaks = std::mem::take(&mut self.breaks);
            self.blank = true;
            self.words(&format!("<{target}>"));
            self.breaks = breaks;
        }
    }
}

fn leads_somewhere(target: &str) -> bool {
    let starts = |scheme: &str| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    starts("http://") || starts("https://") || starts("mailto:")
}

/// What follows the end tag `name`; nothing where it is missing, as in a browser.
fn skip_to_end<'a>(mut rest: &'a str, name: &str) -> &'a str {
    while let Some(at) = rest.find("</") {
        rest = rest.get(at + 2..).unwrap_or_default();
        if rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
            return rest.split_once('>').map_or("", |(_, rest)| rest);
        }
    }
    ""
}

/// The value of an attribute, as written.
fn attribute(attributes: &str, wanted: &str) -> Option<String> {
    let mut rest = attributes.trim_start();
    while !rest.is_empty() {
        let length = rest.find(|c: char| c.is_whitespace() || c == '=' || c == '/').unwrap_or(rest.len());
        let (name, behind) = rest.split_at(length);
        let behind = behind.trim_start();
        let Some(value) = behind.strip_prefix('=').map(str::trim_start) else {
            rest = behind.strip_prefix('/').unwrap_or(behind).trim_start();
            continue;
        };
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, after) = match quote {
            Some(quote) => {
                let inner = value.get(1..).unwrap_or_default();
                inner.split_once(quote).unwrap_or((inner, ""))
            }
            None => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.to_owned());
        }
        rest = after.trim_start();
    }
    None
}

/// An attribute's value with its character references read.
fn unescaped(value: &str) -> String {
    let mut page = Page { pre: 1, ..Page::default() };
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        let (before, from) = rest.split_at(at);
        page.out.push_str(before);
        rest = page.entity(from);
    }
    page.out.push_str(rest);
    page.out
}

#[cfg(test)]
mod tests {
    use super::text_of;

    #[test]
    fn a_page_reads_like_a_letter() {
        let html = "<html><head><title>t</title><style>p { x: '<b>' }</style></head><body>\n<p>Dear&nbsp;Bob,<br>see\n <a href=\"https://example.org/?a=1&amp;b=2\">this\n page</a>\
            or <a href='https://example.org'>https://example.org</a>.</p><ul><li>one<li>two &amp; <b>th</b>ree</ul>\
            <table><tr><td>a<td>b<tr><td>c</table><script>if (a</b) alert('<p>')</script><!-- <p>hidden --><img alt=\"a cat\" src=x></body></html>";
        assert_eq!(
            text_of(html),
            "Dear Bob,\nsee this page <https://example.org/?a=1&b=2>or https://example.org.\n\n* one\n* two & three\n\na b\nc\n\n[a cat]"
        );
    }

    #[test]
    fn what_is_no_markup_stays_text() {
        assert_eq!(text_of("1 < 2 & 3 &unknown; &; &#x41;&#66; <3"), "1 < 2 & 3 &unknown; &; AB <3");
        assert_eq!(text_of("never closed <b"), "never closed <b");
        assert_eq!(text_of("a<!-- open <b>c</b>"), "a open c");
        assert_eq!(text_of("<a href=\"x>y</a> z"), "y z");
        assert_eq!(text_of("<pre>a\n  b</pre>c"), "a\n  b\n\nc");
        assert_eq!(text_of(""), "");
    }

    #[test]
    fn hostile_pages_cost_no_more_than_their_length() {
        for piece in ["<a href=\"", "<!--", "<", "&", "<script>", "</", "<a href='x'>", "<pre>", "<p", "&#", "<a b"] {
            text_of(&piece.repeat(200_000));
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(html in "(<|>|&|;|\"|'|=|/|-|!|a|p|pre|script|href| |é|\n|#x|1){0,120}") {
            text_of(&html);
        }
    }
}

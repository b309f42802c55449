//! Quoting of commands that users paste into a shell.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::sanitize::is_unprintable;

/// Quotes an argument for a shell.
pub fn quoted(argument: &OsStr) -> String {
    let Some(text) = argument.to_str().filter(|text| !text.contains(is_unprintable)) else {
        return escaped(argument.as_bytes());
    };
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:,@=%".contains(c);
    match !text.is_empty() && !text.starts_with('=') && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Quotes a path for a shell, so that it is not taken for an option either.
pub fn quoted_path(path: &Path) -> String {
    match path.as_os_str().as_bytes().starts_with(b"-") {
        true => quoted(Path::new(".").join(path).as_os_str()),
        false => quoted(path.as_os_str()),
    }
}

/// Quotes bytes that a terminal cannot show, as in `$'a\nb'`.
fn escaped(bytes: &[u8]) -> String {
    let mut out = "$'".to_owned();
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => out.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => out.push(char::from(*byte)),
            // Three octal digits always end the escape.
            _ => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out + "'"
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_quoted_arguments_as_they_were() {
        for argument in [
            &b"plain/path-1.csv"[..],
            b"",
            b"two words",
            b"it's \"quoted\" \\ $HOME `x` !",
            b"*?[a]{b,c}~;|&<>()#",
            b"~",
            b"=ls",
            b"-x",
            "größe/日本".as_bytes(),
            b"two\nlines\ttab 1",
            b"\xff\xfe not 'UTF-8' \\",
            "\u{202e}bidi\u{7f}1".as_bytes(),
        ] {
            let argument = OsStr::from_bytes(argument);
            let quoted = quoted(argument);
            assert!(!quoted.contains(is_unprintable), "{quoted}");
            let script = format!("printf %s {quoted}");
            let output = Command::new("bash").args(["-c", &script]).output().unwrap();
            assert_eq!(OsStr::from_bytes(&output.stdout), argument, "{quoted}");
        }
        assert_eq!(quoted(OsStr::new("runs/a,b=c:1%")), "runs/a,b=c:1%");
        assert_eq!(quoted_path(Path::new("-x y")), "'./-x y'");
    }
}

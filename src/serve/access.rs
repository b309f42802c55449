//! Rules for requests of browsers, by the host that they name and the page that sends them.
//!
//! A page of another site can make the browser of its visitor send requests to this server. The browser
//! names the page in `Origin`, and the site's relation to this server in `Sec-Fetch-Site`. Only with DNS
//! rebinding, where the name of the other site resolves to the address of this server, page and server look
//! like one site. The name in `Host` then is the other site's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use clap::Args;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Hosts and origins that are allowed besides the server's own, as command-line options.
#[derive(Clone, Debug, Default, Args)]
pub struct AccessArgs {
    /// Name by which clients may address the server besides localhost and its address, e.g. behind a
    /// proxy; * allows every name; may be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    hosts: Vec<Any<Host>>,
    /// Web page that may use the API from a browser (CORS), e.g. `https://example.com`; * allows every
    /// page; may be repeated
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    origins: Vec<Any<Origin>>,
}

/// Decides which requests are answered.
#[derive(Clone, Debug)]
pub struct Access {
    /// Address that the server listens on.
    bound: IpAddr,
    allowed: AccessArgs,
}

/// Reason why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Denied {
    /// The request does not name exactly one host.
    InvalidHost,
    /// The request names another host.
    OtherHost(String),
    /// A page of another site sends the request.
    OtherOrigin,
}

impl Access {
    /// Creates the rules of a server that listens on `bound`.
    pub fn new(bound: IpAddr, allowed: AccessArgs) -> Self {
        Self { bound, allowed }
    }

    /// Checks the host that a request names.
    ///
    /// # Errors
    /// Returns [`Denied`] if the request does not name a host, several of them, or one that is not allowed.
    pub fn check_host(&self, request: &Request) -> Result<(), Denied> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts.next();
        // Browsers never use HTTP/1.0, which has no `Host`.
        if hosts.next().is_some() || host.is_none() && request.version() > Version::HTTP_10 {
            return Err(Denied::InvalidHost);
        }
        let host = host.map(|host| host.to_str().map_err(|_| Denied::InvalidHost)).transpose()?;
        // The request target may also be a URL.
        let target = request.uri().authority().map(|authority| authority.as_str());
        for named in host.into_iter().chain(target) {
            let Authority { host, .. } = named.parse().map_err(|_| Denied::InvalidHost)?;
            if !self.allows_host(&host) {
                return Err(Denied::OtherHost(host.to_string()));
            }
        }
        Ok(())
    }

    fn allows_host(&self, host: &Host) -> bool {
        let is_own = match host {
            Host::Name(name) => name == "localhost",
            Host::Address(address) => {
                let own = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), self.bound];
                // A name has to be rebound; an address is safe.
                self.bound.is_unspecified() || own.contains(address)
            }
        };
        is_own || self.allowed.hosts.iter().any(|allowed| allowed.matches(Some(host)))
    }

    /// Checks the page that sends a request. Only a link to this server may be on a page of another site.
    ///
    /// # Errors
    /// Returns [`Denied::OtherOrigin`] if a page of another site sends the request.
    pub fn check_origin(&self, request: &Request) -> Result<(), Denied> {
        let headers = request.headers();
        let own: Option<Authority> = text(headers, header::HOST).and_then(|host| host.parse().ok());
        let mut origins = headers.get_all(header::ORIGIN).iter().peekable();
        let is_allowed = match origins.peek() {
            Some(_) => origins.all(|origin| self.allows_origin(origin, own.as_ref())),
            None => {
                let site = text(headers, SEC_FETCH_SITE);
                site.is_none_or(|site| ["same-origin", "none"].contains(&site)) || is_link(request)
            }
        };
        if is_allowed { Ok(()) } else { Err(Denied::OtherOrigin) }
    }

    fn allows_origin(&self, origin: &HeaderValue, own: Option<&Authority>) -> bool {
        let is_own = |origin: Origin| own == Some(&origin.authority);
        self.allowed.allows_origin(origin) || parse_origin(origin).is_some_and(is_own)
    }

    /// Returns the layer that answers the pages of allowed origins with CORS headers, if there are any.
    pub fn cors(&self) -> Option<CorsLayer> {
        if self.allowed.origins.is_empty() {
            return None;
        }
        let allowed = self.allowed.clone();
        let allows = move |origin: &HeaderValue, _: &_| allowed.allows_origin(origin);
        let layer = CorsLayer::new().allow_origin(AllowOrigin::predicate(allows));
        let layer = layer.allow_methods([Method::GET, Method::POST]);
        Some(layer.allow_headers([header::CONTENT_TYPE]))
    }
}

impl AccessArgs {
    fn allows_origin(&self, origin: &HeaderValue) -> bool {
        let origin = parse_origin(origin);
        self.origins.iter().any(|allowed| allowed.matches(origin.as_ref()))
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Parses the header `Origin`; `None` for `null`, the origin of sandboxed pages and files.
fn parse_origin(header: &HeaderValue) -> Option<Origin> {
    header.to_str().ok()?.parse().ok()
}

/// Returns true if a visitor has followed a link. The other page does not see the response.
fn is_link(request: &Request) -> bool {
    let is = |name, value| text(request.headers(), name) == Some(value);
    request.method() == Method::GET
        && is(SEC_FETCH_MODE, "navigate")
        && is(SEC_FETCH_DEST, "document")
}

/// A value, or `*` for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Any<T> {
    Any,
    One(T),
}

impl<T: PartialEq> Any<T> {
    /// Returns true if `value` is allowed; `None` stands for one that has no name.
    fn matches(&self, value: Option<&T>) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => value == Some(one),
        }
    }
}

impl<T: FromStr> FromStr for Any<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "*" { Ok(Self::Any) } else { text.parse().map(Self::One) }
    }
}

/// Name or address of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// In lower case and without the final dot.
    Name(String),
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>()
            && (bare == text || address.is_ipv6())
        {
            return Ok(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.ends_with('.') || !name.chars().all(is_name) {
            return Err("expected the name or the address of a host, without a port".to_owned());
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    host: Host,
    port: Option<u16>,
}

impl FromStr for Authority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let end =
            if text.starts_with('[') { text.find(']').map(|end| end + 1) } else { text.find(':') };
        let (host, port) = text.split_at(end.unwrap_or(text.len()));
        let port = match port {
            "" | ":" => None,
            _ => {
                let digits =
                    port.strip_prefix(':').filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
                let port = digits.and_then(|port| port.parse().ok());
                Some(port.ok_or_else(|| format!("\"{text}\" has no valid port"))?)
            }
        };
        Ok(Self { host: host.parse()?, port })
    }
}

/// Scheme, host and port of a web page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    authority: Authority,
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected an origin such as https://example.com".to_owned();
        let (scheme, authority) = text.split_once("://").ok_or_else(expected)?;
        let authority = authority.parse().map_err(|_| expected())?;
        Ok(Self { scheme: scheme.to_ascii_lowercase(), authority })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn access(bound: &str, hosts: &[&str], origins: &[&str]) -> Access {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        Access::new(bound.parse().unwrap(), AccessArgs { hosts, origins })
    }

    fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    fn host(access: &Access, host: &str) -> Result<(), Denied> {
        access.check_host(&request("GET", "/", &[("host", host)]))
    }

    #[test]
    fn a_loopback_server_answers_to_its_own_names_only() {
        let local = access("127.0.0.1", &["Model.Example", "10.1.2.3"], &[]);
        for own in [
            "localhost",
            "LocalHost:8000",
            "localhost.",
            "localhost.:80",
            "localhost:",
            "127.0.0.1",
            "127.0.0.1:65535",
            "[::1]",
            "[0:0:0:0:0:0:0:1]:8000",
            "[::ffff:127.0.0.1]",
            "model.example",
            "MODEL.example.:8000",
            "10.1.2.3:1",
        ] {
            assert_eq!(host(&local, own), Ok(()), "{own}");
        }
        for other in [
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "evil-localhost",
            "a.localhost",
            "sub.model.example",
            "127.0.0.1.nip.io",
            "127.1",
            "2130706433",
            "10.1.2.4",
            "[::2]",
        ] {
            assert!(matches!(host(&local, other), Err(Denied::OtherHost(_))), "{other}");
        }
        for invalid in [
            "",
            ":8000",
            ".",
            "localhost..",
            "::1",
            "[::1",
            "[::1]x",
            "[127.0.0.1]",
            "localhost:http",
            "localhost:+80",
            "localhost:70000",
            "localhost:80:80",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost/evil",
            "localhost,evil.example",
            "localhost evil.example",
            "lo\tcalhost",
        ] {
            assert_eq!(host(&local, invalid), Err(Denied::InvalidHost), "{invalid}");
        }
    }

    #[test]
    fn the_bound_address_is_allowed_and_every_address_if_the_server_listens_on_all() {
        let lan = access("10.0.0.5", &[], &[]);
        assert_eq!(host(&lan, "10.0.0.5:8000"), Ok(()));
        assert_eq!(host(&lan, "localhost"), Ok(()));
        assert!(host(&lan, "10.0.0.6").is_err());
        for all in [access("0.0.0.0", &[], &[]), access("::", &[], &[])] {
            assert_eq!(host(&all, "192.168.1.2:8000"), Ok(()));
            assert_eq!(host(&all, "[fd00::1]"), Ok(()));
            assert!(host(&all, "evil.example").is_err());
        }
        assert_eq!(host(&access("127.0.0.1", &["*"], &[]), "evil.example"), Ok(()));
    }

    #[test]
    fn a_request_names_one_host_and_its_target_no_other() {
        let local = access("127.0.0.1", &[], &[]);
        let check = |target: &str, hosts: &[&str]| {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            local.check_host(&request("GET", target, &headers))
        };
        assert_eq!(check("/", &[]), Err(Denied::InvalidHost));
        assert_eq!(check("/", &["localhost", "localhost"]), Err(Denied::InvalidHost));
        assert_eq!(check("/", &["localhost", "evil.example"]), Err(Denied::InvalidHost));
        assert_eq!(check("http://localhost/healthz", &["localhost"]), Ok(()));
        assert!(check("http://evil.example/healthz", &["localhost"]).is_err());
        assert!(check("http://localhost/healthz", &["evil.example"]).is_err());
        assert!(check("http://localhost@evil.example/", &["localhost"]).is_err());
        let mut old = request("GET", "/", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(local.check_host(&old), Ok(()));
        old.headers_mut().insert(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(local.check_host(&old).is_err());
        old.headers_mut()
            .insert(header::HOST, HeaderValue::from_bytes(b"l\xC3\xB6calhost").unwrap());
        assert_eq!(local.check_host(&old), Err(Denied::InvalidHost));
    }

    #[test]
    fn pages_of_other_sites_may_only_link_to_the_server() {
        let local = access("127.0.0.1", &[], &["https://App.example", "http://localhost:3000"]);
        let check = |method: &str, headers: &[(&str, &str)]| {
            let headers = [&[("host", "localhost:8000")], headers].concat();
            local.check_origin(&request(method, "/predict", &headers)).is_ok()
        };
        for allowed in [
            &[][..],
            &[("origin", "http://localhost:8000")],
            &[("origin", "http://LOCALHOST:8000"), ("sec-fetch-site", "same-origin")],
            &[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")],
            &[("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(check("POST", allowed), "{allowed:?}");
        }
        for denied in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "http://localhost")],
            &[("origin", "http://localhost:8001")],
            &[("origin", "http://app.example")],
            &[("origin", "https://app.example:444")],
            &[("origin", "https://app.example.evil.example")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "http://localhost:8000"), ("origin", "http://evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ],
        ] {
            assert!(!check("POST", denied), "{denied:?}");
        }
        let navigation = |to| {
            let mode = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
            check("GET", &[&mode[..], &[("sec-fetch-dest", to)]].concat())
        };
        assert!(navigation("document"));
        assert!(!navigation("iframe"));
        assert!(!check("GET", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]));
    }

    #[test]
    fn wrong_options_are_rejected() {
        for wrong in ["", "example.com:80", "http://example.com", "a b", "a/b"] {
            assert!(wrong.parse::<Any<Host>>().unwrap_err().contains("without a port"), "{wrong}");
        }
        for wrong in ["", "null", "example.com", "https://example.com/", "https://a b"] {
            assert!(wrong.parse::<Any<Origin>>().unwrap_err().contains("https://"), "{wrong}");
        }
    }
}

//! The pages themselves: the files of `web/`, embedded in the program.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, Response, StatusCode};
use chat::ServiceState;
use data_encoding::HEXLOWER;
use rust_embed::RustEmbed;
use serde_json::json;

#[derive(RustEmbed)]
#[folder = "../../web"]
#[exclude = "*.md"]
struct Files;

/// The module with the sentences of the states that only a page can find itself in: the same that everybody says.
const SENTENCES: &str = "service-state.js";

/// A file of the pages, by its path without the leading slash.
pub(crate) fn file(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let kind = match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    let (bytes, tag) = if path == SENTENCES {
        let text = sentences();
        let tag = <sha2::Sha256 as sha2::Digest>::digest(&text).to_vec();
        (text.into_bytes(), tag)
    } else {
        let file = Files::get(path)?;
        (file.data.into_owned(), file.metadata.sha256_hash().to_vec())
    };
    let tag = format!("\"{}\"", HEXLOWER.encode(&tag[..16]));
    let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let response = Response::builder()
        .header(CONTENT_TYPE, kind)
        .header(ETAG, tag)
        // Asked for each time, so that a new version of the program has its own page at once.
        .header(CACHE_CONTROL, "no-cache")
        .status(if unchanged { StatusCode::NOT_MODIFIED } else { StatusCode::OK })
        .body(if unchanged { Body::empty() } else { Body::from(bytes) });
    Some(response.expect("these headers are plain"))
}

fn sentences() -> String {
    let states = [
        ("connecting", ServiceState::Connecting),
        ("reconnecting", ServiceState::Reconnecting),
        ("nobodyServes", ServiceState::NobodyServes),
        ("historyReplaced", ServiceState::HistoryReplaced),
    ];
    let lines = states.map(|(name, state)| format!("export const {name} = {};\n", json!(state.to_string())));
    format!("// One voice: the sentences of the program itself (chat::ServiceState).\n{}", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn files_have_their_kind_and_are_sent_once() {
        for (path, kind) in
            [("index.html", "text/html"), ("style.css", "text/css"), ("main.js", "text/javascript")]
        {
            let response = file(path, &HeaderMap::new()).unwrap();
            assert!(response.headers()[CONTENT_TYPE].to_str().unwrap().starts_with(kind), "{path}");
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, response.headers()[ETAG].clone());
            assert_eq!(file(path, &headers).unwrap().status(), StatusCode::NOT_MODIFIED);
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("\"another\""));
            assert_eq!(file(path, &headers).unwrap().status(), StatusCode::OK);
        }
        for path in ["", "nothing.js", "../Cargo.toml", "index", "index.exe"] {
            assert!(file(path, &HeaderMap::new()).is_none(), "{path}");
        }
    }

    #[test]
    fn no_page_has_a_script_or_a_style_of_its_own_or_asks_another_host_for_anything() {
        for path in Files::iter() {
            let file = Files::get(&path).unwrap();
            let text = std::str::from_utf8(&file.data).unwrap().to_ascii_lowercase();
            if path.ends_with(".html") {
                assert_eq!(
                    text.matches("<script").count(),
                    text.matches("<script type=\"module\" src=\"/").count(),
                    "{path}"
                );
                for inline in ["<style", " style=", " onclick=", " onload=", " onsubmit=", "javascript:"] {
                    assert!(!text.contains(inline), "{path} has {inline}");
                }
            }
            for address in ["http://", "https://", "url(//", "@import"] {
                let foreign = text.replace("http://www.w3.org/2000/svg", "").contains(address);
                assert!(!foreign, "{path} names another host with {address}");
            }
        }
    }

    #[test]
    fn the_page_says_what_every_client_says() {
        let module = sentences();
        assert!(module.contains(&json!(ServiceState::NobodyServes.to_string()).to_string()), "{module}");
    }
}

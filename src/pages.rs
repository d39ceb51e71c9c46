//! The pages at `/`: `clients/web`, embedded in release builds and read from disk in others. They are checked with the
//! server at every use (`no-cache`, `ETag`), so that a new version is seen at once.

use std::borrow::Cow;
use std::path::Path;

use actix_web::http::header::{self, ETag, EntityTag, Header, IfNoneMatch};
use actix_web::web::{Redirect, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, guard, web};
use bytes::Bytes;
use rust_embed::{Embed, EmbeddedFile};

/// Scripts and styles of this server only, and WebSockets. `connect-src` names them, because to older browsers 'self'
/// does not include ws: of the same host.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

#[derive(Embed)]
#[folder = "clients/web"]
struct Pages;

/// Adds the pages to an `App`. Addresses they do not have stay unanswered here.
pub(crate) fn configure(app: &mut ServiceConfig) {
    app.route("/", read_only("index.html".to_owned()));
    for (address, below) in [("/admin", "admin/"), ("/api", "api/")] {
        app.route(&format!("{address}/"), read_only(format!("{below}index.html")));
        // The page names what it needs from where it stands.
        app.route(address, web::get().to(move || async move { Redirect::to(below).see_other() }));
    }
    for name in Pages::iter() {
        app.route(&format!("/{name}"), read_only(name.into_owned()));
    }
}

/// A file, to GET and HEAD.
fn read_only(name: String) -> actix_web::Route {
    let handler = move |request: HttpRequest| std::future::ready(answer(&request, &name));
    web::route().guard(guard::Any(guard::Get()).or(guard::Head())).to(handler)
}

fn answer(request: &HttpRequest, name: &str) -> HttpResponse {
    let Some(file) = Pages::get(name) else {
        return HttpResponse::NotFound().finish();
    };
    let tag = tag_of(&file);
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header(ETag(tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    if known {
        return response.finish();
    }
    response.insert_header((header::CONTENT_TYPE, content_type(name))).body(bytes_of(file))
}

/// Without a copy where the file is part of the program.
fn bytes_of(file: EmbeddedFile) -> Bytes {
    match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

/// Half of the SHA-256 is more than enough to tell versions apart.
fn tag_of(file: &EmbeddedFile) -> EntityTag {
    let hash = file.metadata.sha256_hash();
    EntityTag::new_strong(hash[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

fn content_type(name: &str) -> &'static str {
    match Path::new(name).extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

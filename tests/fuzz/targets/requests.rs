//! Any request to the HTTP API of a whole server, by somebody who holds the master key.
//!
//! The first line of an input is the method and the target, the rest the body: JSON by its name.
//!
//! # Invariants
//!
//! * Every request is answered, and none with an error of the server's own.
//! * Whatever is refused is told as problem details.

#![no_main]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tidings::config::Config;
use tidings::server::Server;
use tokio::runtime::Runtime;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// A server that runs as long as the fuzzer does.
struct Running {
    address: SocketAddr,
    key: String,
    connection: Mutex<Option<BufReader<TcpStream>>>,
    _server: Server,
    _runtime: Runtime,
    _folder: TempDir,
}

static RUNNING: LazyLock<Running> = LazyLock::new(|| {
    let (runtime, folder) = (Runtime::new().unwrap(), TempDir::new_in("/dev/shm").unwrap());
    let local: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let mut config = Config::new(folder.path().join("data"), local);
    config.http.listen = Some(local);
    config.store.segment_bytes_max = 4 * 1024 * 1024;
    config.store.log_bytes_max = 64 * 1024 * 1024;
    let server = runtime.block_on(Server::start(config)).unwrap();
    let http = server.http().unwrap();
    let (address, key) = (http.local_addr(), http.made_key().unwrap());
    let connection = Mutex::new(None);
    Running { address, key, connection, _server: server, _runtime: runtime, _folder: folder }
});

fuzz_target!(|input: &[u8]| {
    let (line, body) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[][..]),
    };
    let Some((method, target)) = std::str::from_utf8(line).ok().and_then(|l| l.split_once(' '))
    else {
        return;
    };
    // What is no target at all is refused before there is a route.
    let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    let is_target = target.starts_with('/') && target.bytes().all(may_be);
    if !METHODS.contains(&method) || !is_target || target.len() > 2_000 {
        return;
    }
    // Whoever takes the key away, or makes another, ends what there is to find out.
    if target.starts_with("/v1/keys/master") || target.starts_with("/v1/history/export") {
        return;
    }
    let mut connection = RUNNING.connection.lock().unwrap();
    let (status, kind) = match connection.as_mut().map(|c| ask(c, method, target, body)) {
        Some(Ok(answer)) => answer,
        // The server may end a connection when a body was too long, and after some time.
        Some(Err(_)) | None => {
            let fresh = BufReader::new(TcpStream::connect(RUNNING.address).unwrap());
            ask(connection.insert(fresh), method, target, body).unwrap()
        }
    };
    assert!(status < 500 || matches!(status, 502..=504 | 507), "{method} {target}: {status}");
    assert!(
        status < 400 || kind == "application/problem+json",
        "{method} {target}: {status} {kind}"
    );
});

/// Asks, and reads the answer to its end: its status, and the kind of its content.
fn ask(
    connection: &mut BufReader<TcpStream>,
    method: &str,
    target: &str,
    body: &[u8],
) -> std::io::Result<(u16, String)> {
    let (key, bytes) = (&RUNNING.key, body.len());
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
    );
    connection.get_mut().write_all(&[head.as_bytes(), body].concat())?;
    let ended = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(ended)?;
    let (mut kind, mut length, mut is_chunked) = (String::new(), 0, false);
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-type" => kind = value.to_owned(),
            "content-length" => length = value.parse().map_err(|_| ended())?,
            "transfer-encoding" => is_chunked = true,
            _ => {}
        }
    }
    if is_chunked {
        return Err(ended());
    }
    std::io::copy(&mut connection.by_ref().take(length), &mut std::io::sink())?;
    Ok((status, kind))
}

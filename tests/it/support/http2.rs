//! HTTP/2 as bytes: frames in any order and any number, which no library would send.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::timeout;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const NO_FLAGS: u8 = 0;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The error codes with which the server ends floods (RFC 9113 §7).
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// The client's connection preface.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A received frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A connection that reads all frames as they arrive.
pub(crate) struct Http2Connection {
    writer: OwnedWriteHalf,
    frames: mpsc::UnboundedReceiver<Frame>,
}

impl Http2Connection {
    /// Connects and sends the preface and empty settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::begin(TcpStream::connect(address).await.unwrap()).await
    }

    /// Connects from an address of the loopback network.
    pub(crate) async fn connect_from(ip: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((ip, 0).into()).unwrap();
        Self::begin(socket.connect(address).await.unwrap()).await
    }

    async fn begin(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        let (sender, frames) = mpsc::unbounded_channel();
        tokio::spawn(read(reader, sender));
        let mut connection = Self { writer, frames };
        let preface = [PREFACE, &frame(SETTINGS, NO_FLAGS, 0, &[])].concat();
        connection.send(&preface).await;
        connection
    }

    /// Sends bytes. Returns `false` if the connection has ended.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.writer.write_all(bytes).await.is_ok()
    }

    /// The next frame, or `None` once the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let next = timeout(Duration::from_secs(30), self.frames.recv()).await;
        next.expect("the server was expected to send a frame")
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        loop {
            match self.frames.try_recv() {
                Ok(_) => {}
                Err(error) => return error == TryRecvError::Disconnected,
            }
        }
    }

    /// All frames until the connection ends.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// The HTTP status of the response on a stream, and the frames before it.
    pub(crate) async fn answer(&mut self, stream: u32) -> (String, Vec<Frame>) {
        let mut others = Vec::new();
        while let Some(frame) = self.next().await {
            if frame.kind == HEADERS && frame.stream == stream {
                return (status(&frame.payload), others);
            }
            others.push(frame);
        }
        panic!("the connection ended without an answer: {others:?}");
    }
}

/// The error code of a `RST_STREAM` or `GOAWAY` frame.
pub(crate) fn code(frame: &Frame) -> u32 {
    let at = if frame.kind == GOAWAY { 4 } else { 0 };
    u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap())
}

/// The status of the first response of a connection. The static HPACK table has the usual ones.
fn status(block: &[u8]) -> String {
    match block.first() {
        Some(0x88) => "200".to_owned(),
        // A literal with the name `:status`: three digits, or two bytes of Huffman code.
        _ => format!("{:02x?}", &block[..block.len().min(5)]),
    }
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The header block of a gRPC call.
pub(crate) fn header_block(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in usual.iter().chain(more) {
        // A literal without indexing.
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

fn text(block: &mut Vec<u8>, text: &str) {
    // The length as an integer with a prefix of seven bits (RFC 7541 §5.1).
    let length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap());
    }
    block.extend(text.as_bytes());
}

/// A header block in one HEADERS frame and as many CONTINUATION frames as necessary.
pub(crate) fn header_frames(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    let mut parts = block.chunks(16 * 1024).peekable();
    let mut bytes = Vec::new();
    let mut kind = HEADERS;
    while let Some(part) = parts.next() {
        let last = if parts.peek().is_none() {
            END_HEADERS
        } else {
            NO_FLAGS
        };
        let first = if kind == HEADERS { flags } else { NO_FLAGS };
        bytes.extend(frame(kind, first | last, stream, part));
        kind = CONTINUATION;
    }
    bytes
}

async fn read(mut reader: OwnedReadHalf, sender: mpsc::UnboundedSender<Frame>) {
    loop {
        let mut head = [0; 9];
        if reader.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if reader.read_exact(&mut payload).await.is_err() {
            return;
        }
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        };
        if sender.send(frame).is_err() {
            return;
        }
    }
}

//! Ports that lead to others, and remember everything that passes.

use chat::Address;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What passed on one connection, one way.
type Passed = Arc<Mutex<Vec<u8>>>;

/// A port that leads to another, for as long as the test runs.
#[derive(Debug)]
pub struct Recorder {
    pub address: Address,
    passed: Arc<Mutex<Vec<Passed>>>,
}

impl Recorder {
    pub async fn to(target: Address) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::loopback(listener.local_addr().unwrap().port());
        let passed: Arc<Mutex<Vec<Passed>>> = Arc::default();
        let all = passed.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (there, back) = (Passed::default(), Passed::default());
                all.lock().unwrap().extend([there.clone(), back.clone()]);
                tokio::spawn(join(near, target.clone(), there, back));
            }
        });
        Self { address, passed }
    }

    /// Everything that passed, each connection and direction by itself.
    pub fn passed(&self) -> Vec<Vec<u8>> {
        self.passed.lock().unwrap().iter().map(|passed| passed.lock().unwrap().clone()).collect()
    }
}

async fn join(near: TcpStream, target: Address, there: Passed, back: Passed) {
    let Ok(far) = TcpStream::connect(target.to_string()).await else { return };
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
        (near.into_split(), far.into_split());
    tokio::select! {
        () = pass(&mut near_read, &mut far_write, there) => {}
        () = pass(&mut far_read, &mut near_write, back) => {}
    }
}

async fn pass(from: &mut (impl AsyncReadExt + Unpin), to: &mut (impl AsyncWriteExt + Unpin), passed: Passed) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        passed.lock().unwrap().extend_from_slice(&piece[..length]);
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// Hexadecimal digits as HTTP/2 writes them in a header: by the Huffman code of RFC 7541, appendix B.
pub fn as_http2_header(digits: &str) -> Vec<u8> {
    let bits: String = digits
        .chars()
        .map(|digit| match digit {
            '0' => "00000",
            '1' => "00001",
            '2' => "00010",
            '3' => "011001",
            '4' => "011010",
            '5' => "011011",
            '6' => "011100",
            '7' => "011101",
            '8' => "011110",
            '9' => "011111",
            'a' => "00011",
            'b' => "100011",
            'c' => "00100",
            'd' => "100100",
            'e' => "00101",
            'f' => "100101",
            other => panic!("{other:?} is no hexadecimal digit"),
        })
        .collect();
    // What remains of the last byte is filled with ones.
    let bytes = bits.as_bytes().chunks(8).map(|bits| {
        (0..8).fold(0, |byte, place| byte << 1 | u8::from(bits.get(place).is_none_or(|bit| *bit == b'1')))
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header value "302" of RFC 7541, appendix C.6.1.
    #[test]
    fn digits_are_written_as_in_the_standard() {
        assert_eq!(as_http2_header("302"), [0x64, 0x02]);
    }
}

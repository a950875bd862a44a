//! Mail that looks like mail, about 6 KB each, the same at every run: a message is a function of its number.

/// An xorshift generator: fast, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        // Neighbouring seeds must not begin alike.
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }
}

/// The message of this number, with CRLF: 4 to 8 KB, 6 KB on average, one line in fifty begins with a dot.
pub fn message(number: u64) -> Vec<u8> {
    let mut dice = Dice::new(number);
    let (from, to) = (dice.below(400), dice.below(40));
    let (token, boundary) = (dice.roll(), dice.roll());
    let (day, hour, minute) = (1 + number / 24 % 28, number % 24, dice.below(60));
    let date = format!("{day} Mar 2021 {hour:02}:{minute:02}:07 +0100");
    let mut text = format!(
        "Return-Path: <person{from}@example.org>\r\n\
         Received: from mx{}.example.net (mx.example.net [192.0.2.{}])\r\n\tby mail.example.com (Postfix) with ESMTPS id {token:012X}\r\n\
         \tfor <someone{to}@example.com>; {date}\r\n\
         Received: from [198.51.100.{}] by mx.example.net with esmtpsa;\r\n\t{date}\r\n\
         Message-ID: <{token:016x}.{number}@example.org>\r\n\
         Date: {date}\r\n\
         From: Person Number {from} <person{from}@example.org>\r\n\
         To: Someone {to} <someone{to}@example.com>\r\n\
         Subject: Message {number} about matter {}\r\n\
         References: <{:016x}@example.com>\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"b{boundary:016x}\"\r\n\r\n\
         --b{boundary:016x}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
        dice.below(9),
        dice.below(250),
        dice.below(250),
        dice.below(1000),
        dice.roll(),
    )
    .into_bytes();
    let length = 4096 + usize::try_from(dice.below(4096)).unwrap();
    while text.len() < length {
        let start = text.len();
        if dice.below(50) == 0 {
            text.push(b'.');
        }
        while text.len() < start + 68 {
            let mut letters = dice.roll();
            for _ in 0..2 + letters % 7 {
                text.push(b'a' + u8::try_from((letters >> 8) % 26).unwrap());
                letters >>= 5;
            }
            text.push(b' ');
        }
        text.pop();
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("--b{boundary:016x}--\r\n").as_bytes());
    text
}

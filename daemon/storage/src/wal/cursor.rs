//! Reads stored bytes in order and never past their end.

#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        self.bytes(1).map(|b| b[0])
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        self.expect_room(count)?;
        let (head, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(head)
    }

    /// `count` groups of `N` bytes.
    pub(super) fn chunks<const N: usize>(&mut self, count: usize) -> Result<impl Iterator<Item = [u8; N]>, String> {
        let bytes = self.bytes(count.checked_mul(N).ok_or("a count overflows")?)?;
        Ok(bytes.as_chunks::<N>().0.iter().copied())
    }

    pub(super) fn varint(&mut self) -> Result<u64, String> {
        // Most values take one byte.
        if let Some((first, rest)) = self.rest.split_first()
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number is longer than 64 bits".into())
    }

    pub(super) fn varint_u32(&mut self) -> Result<u32, String> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| format!("{value} where a 32-bit number must stand"))
    }

    pub(super) fn varint_u16(&mut self) -> Result<u16, String> {
        let value = self.varint()?;
        u16::try_from(value).map_err(|_| format!("{value} where a 16-bit number must stand"))
    }

    /// A count of things that take at least `bytes_each` of the bytes that follow.
    pub(super) fn count(&mut self, bytes_each: usize) -> Result<usize, String> {
        let count = usize::try_from(self.varint()?).map_err(|e| e.to_string())?;
        self.expect_room(count.checked_mul(bytes_each).ok_or("a count overflows")?)?;
        Ok(count)
    }

    pub(super) fn expect_room(&self, bytes: usize) -> Result<(), String> {
        if bytes <= self.rest.len() { Ok(()) } else { Err(format!("{bytes} bytes expected, {} left", self.rest.len())) }
    }
}

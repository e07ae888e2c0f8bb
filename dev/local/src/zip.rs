//! A zip file with one executable in it, not compressed: it never leaves this machine.

use anyhow::{Context, Result};

/// A zip file (PKWARE APPNOTE 4.3) whose only entry is the program `bootstrap`.
pub(crate) fn bootstrap(program: &[u8]) -> Result<Vec<u8>> {
    const NAME: &[u8] = b"bootstrap";
    const UNIX: u16 = 3 << 8;
    const VERSION: u16 = 20;
    const EXECUTABLE: u32 = 0o100_755 << 16;

    let size = u32::try_from(program.len()).context("the binary has over 4 GiB")?;
    let mut crc = flate2::Crc::new();
    crc.update(program);
    // What the entry's own header and the directory at the end both say: version, flags, method, time, date,
    // check sum, sizes before and after, lengths of the name and of the extra field.
    let mut common = Vec::new();
    for field in [VERSION, 0, 0, 0, 0x21] {
        common.extend(field.to_le_bytes());
    }
    for field in [crc.sum(), size, size] {
        common.extend(field.to_le_bytes());
    }
    for field in [NAME.len() as u16, 0] {
        common.extend(field.to_le_bytes());
    }

    let mut zip = Vec::with_capacity(program.len() + 200);
    zip.extend(b"PK\x03\x04");
    zip.extend(&common);
    zip.extend(NAME);
    zip.extend(program);

    let directory = u32::try_from(zip.len()).context("the binary has over 4 GiB")?;
    zip.extend(b"PK\x01\x02");
    zip.extend((UNIX | VERSION).to_le_bytes());
    zip.extend(&common);
    zip.extend([0; 6]); // comment, disk, internal attributes
    zip.extend(EXECUTABLE.to_le_bytes());
    zip.extend(0_u32.to_le_bytes()); // where the entry begins
    zip.extend(NAME);

    let directory_size = zip.len() as u32 - directory;
    zip.extend(b"PK\x05\x06");
    for field in [0_u16, 0, 1, 1] {
        zip.extend(field.to_le_bytes());
    }
    zip.extend(directory_size.to_le_bytes());
    zip.extend(directory.to_le_bytes());
    zip.extend(0_u16.to_le_bytes());
    Ok(zip)
}

//! Replacing a file as a whole: readers, and whoever comes after a crash, find the old content or
//! the new one, and never a part.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::values::path::directory_of;

/// Writes `path` with the permissions `mode`: `fill` writes into a new file beside it, which is
/// brought to the disk and then takes the name. What a crash left of an earlier attempt is
/// replaced.
///
/// # Errors
/// Those of `fill` and of the system. `path` is then as it was, and the new file removed.
pub fn write_aside<T>(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    let aside = aside_of(path)?;
    let written = write_new(&aside, mode, fill).and_then(|filled| {
        fs::rename(&aside, path)?;
        Ok(filled)
    });
    match written {
        Ok(filled) => {
            // The name is on the disk only when the directory is.
            File::open(directory_of(path))?.sync_all()?;
            Ok(filled)
        }
        Err(error) => {
            // It may not even be there.
            let _ = fs::remove_file(&aside);
            Err(error)
        }
    }
}

fn write_new<T>(
    aside: &Path,
    mode: u32,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    match fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Created by this call or not at all: nobody may have it open, or have put a link there.
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(aside)?;
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
    let filled = fill(&mut writer)?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(filled)
}

/// `.NAME.new`, in the same directory.
fn aside_of(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
    };
    let mut aside = OsString::from(".");
    aside.push(name);
    aside.push(".new");
    Ok(path.with_file_name(aside))
}

const BUFFER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for text in ["first", "second"] {
            write_aside(&path, 0o600, |file| file.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_failure_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "old").unwrap();
        let failed = write_aside(&path, 0o600, |file| {
            file.write_all(b"new")?;
            Err::<(), _>(io::Error::other("disk on fire"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "disk on fire");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a"]);
        assert!(write_aside(Path::new("/"), 0o600, |_| Ok(())).is_err());
        assert!(write_aside(&folder.path().join("none/a"), 0o600, |_| Ok(())).is_err());
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("a"), folder.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, folder.path().join(".a.new")).unwrap();
        write_aside(&path, 0o600, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(names(folder.path()), ["a", "victim"]);
    }
}

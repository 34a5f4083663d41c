//! A file that is written as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes `bytes` to `path`: to a new file beside it, which then takes its place. Whoever opens
/// `path` meanwhile has the old contents; where writing fails they stay. The new file may be read by
/// those who might read the old one; where there was none, by those who may read `like`: registers
/// hold keys.
pub(crate) fn replace(path: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
    let target = target(path)?;
    let beside = beside(&target)?;
    let like = if target.exists() { &target } else { like };
    let result = write_new(&beside, bytes, like).and_then(|()| fs::rename(&beside, &target));
    if result.is_err() {
        // It may not even be there.
        let _ = fs::remove_file(&beside);
    }
    result
}

/// What `path` is at the end of its links. A device or a pipe has a name that others need.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => fs::canonicalize(path),
        Ok(_) => Err(io::Error::other("is there and is no ordinary file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
    }
}

fn beside(target: &Path) -> io::Result<PathBuf> {
    let Some(name) = target.file_name() else {
        return Err(io::Error::other("is no name of a file"));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.new", std::process::id()));
    Ok(target.with_file_name(hidden))
}

fn write_new(path: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(bytes)?;
    file.set_permissions(fs::metadata(like)?.permissions())?;
    file.sync_all()
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("fpstate-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn whoever_has_the_old_file_open_reads_the_old_bytes_to_their_end() {
        let folder = folder("replace");
        let path = folder.join("image");
        fs::write(&path, [1; 100]).unwrap();
        let mut old = File::open(&path).unwrap();
        replace(&path, &[2; 100], &path).unwrap();
        let mut bytes = Vec::new();
        old.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [1; 100]);
        assert_eq!(fs::read(&path).unwrap(), [2; 100]);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing beside");
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn the_new_file_is_as_private_as_the_one_before_or_as_its_source() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder("private");
        let (path, source) = (folder.join("image"), folder.join("source"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        fs::write(&source, []).unwrap();
        set(&source, 0o640);
        replace(&path, &[2], &source).unwrap();
        assert_eq!(mode(&path), 0o640);
        set(&path, 0o600);
        replace(&path, &[3], &source).unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_ordinary_file_is_not_replaced() {
        let folder = folder("socket");
        let socket = folder.join("socket");
        let _open = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [folder.as_path(), &socket] {
            let error = replace(path, &[1], &folder).unwrap_err();
            assert!(error.to_string().contains("no ordinary file"), "{error}");
            assert!(!path.is_file());
        }
        fs::remove_dir_all(folder).unwrap();
    }
}

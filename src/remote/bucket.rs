//! Buckets of S3, Google Cloud Storage and Azure, through `object_store`. Credentials come from where the tools of these services
//! have them, and are never shown.

use super::address::Bucket;
use super::{Address, Error, LONGEST, Listed, Object, Objects, Scheme, Version};
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Name;
use object_store::{
    BackoffConfig, ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
    UpdateVersion, WriteMultipart,
};
use std::fmt;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Bytes of a file that is sent in one piece; longer ones go in pieces of this size.
const PIECE: usize = 8 << 20;
/// Pieces of a file on their way at a time.
const TOGETHER: usize = 4;
/// How long a request is tried again before the place counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(120);

/// Objects in a bucket.
struct Store {
    store: Box<dyn ObjectStore>,
    prefix: String,
    runtime: Runtime,
    /// For messages.
    shown: String,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Opens a bucket.
///
/// # Errors
/// If the environment lacks what it needs.
pub(super) fn open(address: &Address) -> Result<Arc<dyn Objects>, Error> {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(10), base: 2.0 };
    let retry = RetryConfig { backoff, max_retries: 12, retry_timeout: PATIENCE };
    let http =
        ClientOptions::new().with_connect_timeout(Duration::from_secs(10)).with_timeout(Duration::from_secs(300));
    let (store, bucket): (Result<Box<dyn ObjectStore>, _>, &Bucket) = match &address.scheme {
        Scheme::S3(bucket) => {
            let builder = AmazonS3Builder::from_env().with_bucket_name(&bucket.name).with_retry(retry);
            let builder = builder.with_conditional_put(S3ConditionalPut::ETagMatch);
            // Plain HTTP is the user's choice, by the variable that everybody knows.
            let is_plain = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| ["1", "true"].contains(&value.as_str()));
            let built = builder.with_client_options(http.with_allow_http(is_plain)).build();
            (built.map(|store| Box::new(store) as _), bucket)
        }
        Scheme::Google(bucket) => {
            let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(&bucket.name).with_retry(retry);
            (builder.with_client_options(http).build().map(|store| Box::new(store) as _), bucket)
        }
        Scheme::Azure(bucket) => {
            let builder = MicrosoftAzureBuilder::from_env().with_container_name(&bucket.name).with_retry(retry);
            (builder.with_client_options(http).build().map(|store| Box::new(store) as _), bucket)
        }
        Scheme::File(_) => unreachable!("a folder is no bucket"),
    };
    let shown = address.to_string();
    let store = store.map_err(|error| Error::Refused(format!("`{shown}`: {error}")))?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Error::Unreachable(format!("failed to start threads: {error}")))?;
    Ok(Arc::new(Store { store, prefix: bucket.prefix.clone(), runtime, shown }))
}

impl Store {
    fn name(&self, name: &str) -> Name {
        if self.prefix.is_empty() { Name::from(name) } else { Name::from(format!("{}/{name}", self.prefix)) }
    }

    /// The name of an object without what all begin with.
    fn own(&self, path: &Name) -> Option<String> {
        let path = path.as_ref();
        if self.prefix.is_empty() {
            Some(path.to_owned())
        } else {
            path.strip_prefix(&self.prefix)?.strip_prefix('/').map(str::to_owned)
        }
    }

    fn wrong(&self, name: &str, error: &object_store::Error) -> Error {
        // The causes say what happened; addresses in them carry no credentials, which are in headers.
        let mut text = format!("`{}/{name}`: {error}", self.shown);
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            let more = inner.to_string();
            if !text.contains(&more) {
                text += &format!(": {more}");
            }
            cause = inner.source();
        }
        if let Some(hint) = hint(&text) {
            return Error::Refused(format!("`{}`: {hint}", self.shown));
        }
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Error::Refused(text)
            }
            // A bucket that is not there is a mistake of whoever gave its name.
            object_store::Error::NotFound { .. } => Error::Refused(text),
            _ => Error::Unreachable(text),
        }
    }

    /// What there is of something that may not be there. That the bucket itself is not is an error.
    fn present<T>(&self, name: &str, result: object_store::Result<T>) -> Result<Option<T>, Error> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { ref source, .. }) if !source.to_string().contains("NoSuchBucket") => {
                Ok(None)
            }
            Err(error) => Err(self.wrong(name, &error)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8], mode: PutMode) -> object_store::Result<Version> {
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.runtime.block_on(self.store.put_opts(&self.name(name), payload, mode.into()))?;
        Ok(version_of(put.e_tag, put.version))
    }

    /// The outcome of a write that was refused since the object is not as it was thought to be. The refusal may be the answer to a
    /// second attempt, whose first one was carried out though its answer was lost: then the object is just what was written.
    fn unless_mine(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, Error> {
        Ok(self.get(name)?.filter(|object| object.bytes == bytes).map(|object| object.version))
    }
}

/// What to do about an error that says it only to those who know the service.
fn hint(text: &str) -> Option<&'static str> {
    let hints = [
        ("NoSuchBucket", "there is no such bucket, or not in this region (AWS_REGION, AWS_ENDPOINT_URL)"),
        ("169.254.169.254", "no credentials were found: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY say who asks"),
        ("InvalidAccessKeyId", "the service does not know AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY is not that of AWS_ACCESS_KEY_ID"),
        ("URL scheme is not allowed", "its address is plain http, which AWS_ALLOW_HTTP=true allows"),
    ];
    hints.into_iter().find(|(words, _)| text.contains(words)).map(|(_, hint)| hint)
}

fn version_of(e_tag: Option<String>, version: Option<String>) -> Version {
    // Google tells contents apart by generation, the others by ETag.
    Version(format!("{}\n{}", e_tag.unwrap_or_default(), version.unwrap_or_default()))
}

fn version(meta: &ObjectMeta) -> Version {
    version_of(meta.e_tag.clone(), meta.version.clone())
}

fn update(version: &Version) -> UpdateVersion {
    let (e_tag, generation) = version.0.split_once('\n').unwrap_or((&version.0, ""));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    UpdateVersion { e_tag: some(e_tag), version: some(generation) }
}

impl Objects for Store {
    fn get(&self, name: &str) -> Result<Option<Object>, Error> {
        let read = self.runtime.block_on(async {
            let found = self.store.get(&self.name(name)).await?;
            let (version, size) = (version(&found.meta), found.meta.size);
            if size > LONGEST {
                return Ok((version, Err(size)));
            }
            Ok((version, Ok(found.bytes().await?.to_vec())))
        });
        match self.present(name, read)? {
            None => Ok(None),
            // As of an overloaded service; without it nothing can be replaced.
            Some((version, _)) if version == version_of(None, None) => {
                Err(Error::Unreachable(format!("the answer of `{}/{name}` has no ETag", self.shown)))
            }
            Some((version, Ok(bytes))) => Ok(Some(Object { bytes, version })),
            Some((_, Err(size))) => {
                Err(Error::Unreachable(format!("`{}/{name}` has {size} bytes, more than {LONGEST}", self.shown)))
            }
        }
    }

    fn copy(&self, name: &str, into: &mut dyn Write) -> Result<bool, Error> {
        let found = self.runtime.block_on(self.store.get(&self.name(name)));
        let Some(found) = self.present(name, found)? else { return Ok(false) };
        let mut stream = found.into_stream();
        while let Some(piece) = self.runtime.block_on(stream.try_next()).map_err(|error| self.wrong(name, &error))? {
            into.write_all(&piece).map_err(|error| Error::Unreachable(error.to_string()))?;
        }
        Ok(true)
    }

    fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        let head = self.runtime.block_on(self.store.head(&self.name(name)));
        Ok(self.present(name, head)?.map(|meta| meta.size))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write(name, bytes, PutMode::Overwrite).map(drop).map_err(|error| self.wrong(name, &error))
    }

    fn send(&self, name: &str, file: &Path) -> Result<(), Error> {
        let unreadable = |error: std::io::Error| Error::Unreachable(error.to_string());
        let mut file = fs_err::File::open(file).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        if size <= PIECE as u64 {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(unreadable)?;
            return self.put(name, &bytes);
        }
        let begun = self.runtime.block_on(self.store.put_multipart(&self.name(name)));
        let upload = begun.map_err(|error| self.wrong(name, &error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PIECE);
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            let room = self.runtime.block_on(async {
                upload.wait_for_capacity(TOGETHER).await?;
                upload.write(&piece[..read]);
                Ok(())
            });
            room.map_err(|error| self.wrong(name, &error))?;
        }
        self.runtime.block_on(upload.finish()).map(drop).map_err(|error| self.wrong(name, &error))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, Error> {
        match self.write(name, bytes, PutMode::Create) {
            Ok(version) => Ok(Some(version)),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                self.unless_mine(name, bytes)
            }
            Err(error) => Err(self.wrong(name, &error)),
        }
    }

    fn replace(&self, name: &str, bytes: &[u8], version: &Version) -> Result<Option<Version>, Error> {
        match self.write(name, bytes, PutMode::Update(update(version))) {
            Ok(version) => Ok(Some(version)),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotFound { .. },
            ) => self.unless_mine(name, bytes),
            Err(error) => Err(self.wrong(name, &error)),
        }
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let removed = self.runtime.block_on(self.store.delete(&self.name(name)));
        self.present(name, removed).map(drop)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, Error> {
        let listed = self.runtime.block_on(self.store.list(Some(&self.name(folder))).try_collect::<Vec<_>>());
        let listed = listed.map_err(|error| self.wrong(folder, &error))?;
        let named = |meta: ObjectMeta| {
            let (name, version) = (self.own(&meta.location)?, version(&meta));
            Some(Listed { name, version, size: meta.size, written: meta.last_modified.into() })
        };
        Ok(listed.into_iter().filter_map(named).collect())
    }
}

//! Scalars over steps as a TensorBoard event file (`record_writer.cc`, `event.proto` and `summary.proto` of TensorFlow).

/// A named series: step and value.
pub type Series<'a> = (&'a str, Vec<(u64, f64)>);

/// The bytes of an event file. All events have wall time 0: what is written depends on the values alone.
pub fn events(series: &[Series<'_>]) -> Vec<u8> {
    let mut file = Vec::new();
    record(&mut file, &field(3, b"brain.Event:2"));
    file.extend(more_events(series));
    file
}

/// The bytes that are added to an event file which has some already.
pub fn more_events(series: &[Series<'_>]) -> Vec<u8> {
    let mut file = Vec::new();
    for (tag, points) in series {
        for (step, value) in points {
            let mut scalar = field(1, tag.as_bytes());
            scalar.push(key(2, 5));
            scalar.extend((*value as f32).to_le_bytes());
            let mut event = Vec::new();
            // A field that is 0 is not written.
            if *step > 0 {
                event.push(key(2, 0));
                varint(&mut event, *step);
            }
            event.extend(field(5, &field(1, &scalar)));
            record(&mut file, &event);
        }
    }
    file
}

/// Length, its checksum, data, their checksum.
fn record(file: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked(&length));
    file.extend(data);
    file.extend(masked(data));
}

/// CRC-32C, rotated and shifted so that a checksum of data that holds checksums stays a good one.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Key of a protobuf field: number and wire type.
fn key(number: u8, wire: u8) -> u8 {
    number << 3 | wire
}

/// A protobuf field of bytes: a string or a message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![key(number, 2)];
    varint(&mut field, bytes.len() as u64);
    field.extend(bytes);
    field
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/golden/events.py`: the same series, written by TensorBoard's own writer.
    #[test]
    fn files_are_those_of_tensorboard() {
        let series = [
            ("loss", vec![(1, 2.5), (128, 0.1), (300_000, 1e-9)]),
            ("validation/score", vec![(0, 33.3), (u64::from(u32::MAX), -7.0)]),
        ];
        assert_eq!(events(&series), include_bytes!("../../tests/golden/events.tfevents"));
    }
}

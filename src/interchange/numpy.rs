//! NumPy's file formats: `.npy` for one array, `.npz` for several named ones.
//!
//! Specification: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use npyz::npz::{array_name_from_file_name, file_name_from_array_name};
use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::io::files::open;
use crate::io::replace::{create_file, replace_output};
use crate::model::named_tensors::NamedTensor;

/// Writes arrays to an `.npz` file. Replaces an existing file atomically.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn write_npz(path: &Path, arrays: &[NamedTensor]) -> anyhow::Result<()> {
    replace_output(path, |file| write_archive(file, arrays))
}

/// Writes arrays to a new `.npz` file.
///
/// # Errors
/// Returns an error if the file exists or cannot be written.
pub fn create_npz(path: &Path, arrays: &[NamedTensor]) -> anyhow::Result<()> {
    create_file(path, |file| write_archive(file, arrays))
}

fn write_archive(file: &mut File, arrays: &[NamedTensor]) -> anyhow::Result<()> {
    let mut archive = ZipWriter::new(BufWriter::new(file));
    // Uncompressed, like numpy.savez. An array may be larger than 4 GB.
    let stored =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    for array in arrays {
        archive.start_file(file_name_from_array_name(&array.name), stored)?;
        write_array(&mut archive, array)?;
    }
    Ok(archive.finish()?.flush()?)
}

/// Writes the values of an array to an `.npy` file. Replaces an existing file atomically.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn write_npy(path: &Path, array: &NamedTensor) -> anyhow::Result<()> {
    replace_output(path, |file| {
        let mut file = BufWriter::new(file);
        write_array(&mut file, array)?;
        Ok(file.flush()?)
    })
}

/// Writes a matrix in the `.npy` format, some rows at a time. Their number is known at the end only.
pub struct NpyMatrix<W: Write + Seek> {
    out: W,
    columns: usize,
    values: u64,
}

impl<W: Write + Seek> NpyMatrix<W> {
    /// Begins a matrix with this number of columns.
    ///
    /// # Errors
    /// Returns an error if it cannot be written.
    pub fn new(mut out: W, columns: usize) -> io::Result<Self> {
        out.write_all(&matrix_header(0, columns))?;
        Ok(Self { out, columns, values: 0 })
    }

    /// Adds whole rows.
    ///
    /// # Errors
    /// Returns an error if they cannot be written.
    pub fn write(&mut self, rows: &[f32]) -> io::Result<()> {
        self.values += rows.len() as u64;
        rows.iter().try_for_each(|value| self.out.write_all(&value.to_le_bytes()))
    }

    /// Writes the number of rows.
    ///
    /// # Errors
    /// Returns an error if it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.rewind()?;
        self.out.write_all(&matrix_header(self.values / self.columns as u64, self.columns))?;
        self.out.flush()
    }
}

/// Returns the header of a matrix, which always has the same size.
fn matrix_header(rows: u64, columns: usize) -> Vec<u8> {
    const SIZE: usize = 128;
    let shape = format!("({rows}, {columns})");
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((SIZE as u16 - 10).to_le_bytes());
    header
        .extend(format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}").bytes());
    header.resize(SIZE - 1, b' ');
    header.push(b'\n');
    header
}

/// Writes an array in the `.npy` format.
fn write_array(out: impl Write, array: &NamedTensor) -> anyhow::Result<()> {
    let shape: Vec<u64> = array.shape.iter().map(|length| *length as u64).collect();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    let mut writer = options.writer(out).begin_nd()?;
    writer.extend(&array.values)?;
    Ok(writer.finish()?)
}

/// Reads all arrays of an `.npz` file, sorted by name.
///
/// # Errors
/// Returns an error if the file cannot be read or is not an `.npz` file, or if an array does not contain
/// floating-point numbers.
pub fn read_npz(path: &Path) -> anyhow::Result<Vec<NamedTensor>> {
    let file = open(path)?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .context("expected an .npz file, as numpy.savez writes it")?;
    let mut names = Vec::new();
    for file in archive.file_names() {
        names.extend(array_name_from_file_name(&file?).map(str::to_owned));
    }
    names.sort();
    let mut read = |name: &str| {
        let file = archive.by_name(&file_name_from_array_name(name))?;
        read_array(file, name.to_owned())
    };
    names.into_iter().map(|name| read(&name).context(name)).collect()
}

/// Reads the array of an `.npy` file. The name of the result is empty.
///
/// # Errors
/// Returns an error if the file cannot be read or is not an `.npy` file, or if it does not contain
/// floating-point numbers.
pub fn read_npy(path: &Path) -> anyhow::Result<NamedTensor> {
    let file = BufReader::new(open(path)?);
    read_array(file, String::new())
}

/// Reads the header of an `.npy` file, including the magic string.
///
/// Rejects nested brackets, which an array of numbers never has: npyz takes exponential time to parse
/// them.
fn read_header(source: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    /// Maximum length of the header. NumPy writes 118 bytes for a matrix.
    const MAX_LENGTH: usize = 1 << 16;
    /// Brackets of the dictionary and of the shape.
    const MAX_BRACKETS: usize = 2;
    let mut header = vec![0; 10];
    source.read_exact(&mut header)?;
    ensure!(header.starts_with(b"\x93NUMPY"), "the first bytes are not those of an .npy file");
    let mut length = usize::from(u16::from_le_bytes([header[8], header[9]]));
    if header[6] >= 2 {
        let mut rest = [0; 2];
        source.read_exact(&mut rest)?;
        length |= usize::from(u16::from_le_bytes(rest)) << 16;
        header.extend(rest);
    }
    ensure!(
        length <= MAX_LENGTH,
        "the header has {length} bytes, but at most {MAX_LENGTH} are supported"
    );
    let start = header.len();
    header.resize(start + length, 0);
    source.read_exact(&mut header[start..])?;
    let brackets = header[start..].iter().filter(|byte| b"([{".contains(byte)).count();
    ensure!(
        brackets <= MAX_BRACKETS,
        "the header describes a structured array; expected an array of numbers"
    );
    Ok(header)
}

/// Reads an array of half, single or double precision. Returns it in single precision and C order.
fn read_array(mut source: impl Read, name: String) -> anyhow::Result<NamedTensor> {
    const EXPECTED: &str = "expected an .npy file, as numpy.save writes it";
    let header = read_header(&mut source).context(EXPECTED)?;
    let array = NpyFile::new(std::io::Cursor::new(header).chain(source)).context(EXPECTED)?;
    /// Maximum number of values to allocate memory for before reading: a header may claim any size.
    const MAX_CAPACITY: usize = 1 << 16;
    let (dtype, order) = (array.dtype(), array.order());
    let shape: Vec<usize> =
        array.shape().iter().map(|length| usize::try_from(*length)).collect::<Result<_, _>>()?;
    let count = shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length));
    let count = count.context("the array is too large")?;
    let mut values = Vec::with_capacity(count.min(MAX_CAPACITY));
    match float_bytes(&dtype) {
        Some(2) => {
            for value in array.data::<half::f16>()? {
                values.push(value?.to_f32());
            }
        }
        Some(4) => {
            for value in array.data::<f32>()? {
                values.push(value?);
            }
        }
        Some(8) => {
            for value in array.data::<f64>()? {
                values.push(value? as f32);
            }
        }
        _ => bail!("found values of type {}, expected floating-point numbers", dtype.descr()),
    }
    ensure!(
        values.len() == count,
        "found {} of {count} values; is the file truncated?",
        values.len()
    );
    if order == Order::Fortran {
        values = to_row_major(&values, &shape);
    }
    Ok(NamedTensor { name, shape, values })
}

/// Returns the size of a floating-point type in bytes; `None` for every other type.
fn float_bytes(dtype: &DType) -> Option<u64> {
    match dtype {
        DType::Plain(plain) if plain.type_char() == TypeChar::Float => Some(plain.size_field()),
        _ => None,
    }
}

/// Converts the values of an array from Fortran order to C order.
fn to_row_major(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let mut index = vec![0; shape.len()];
    let mut ordered = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        // The first index varies fastest in the file.
        let offset =
            index.iter().zip(shape).rev().fold(0, |offset, (at, length)| offset * length + at);
        ordered.push(values[offset]);
        for (at, length) in index.iter_mut().zip(shape).rev() {
            *at += 1;
            if *at < *length {
                break;
            }
            *at = 0;
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn written_arrays_are_read_back_unchanged(
            shapes in prop::collection::vec(prop::collection::vec(0_usize..5, 0..4), 0..4),
        ) {
            let arrays: Vec<NamedTensor> = shapes.into_iter().enumerate().map(|(number, shape)| {
                let count: usize = shape.iter().product();
                let values = (0..count).map(|value| value as f32 * 0.3 - 1.0).collect();
                NamedTensor { name: format!("a/{number}"), shape, values }
            }).collect();
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.npz");
            write_npz(&path, &arrays).unwrap();
            prop_assert_eq!(&read_npz(&path).unwrap(), &arrays);
            for array in arrays {
                let path = directory.path().join("a.npy");
                write_npy(&path, &array).unwrap();
                prop_assert_eq!(read_npy(&path).unwrap(), NamedTensor { name: String::new(), ..array });
            }
        }
    }

    #[test]
    fn fortran_order_is_converted_to_c_order() {
        // numpy.asfortranarray(numpy.arange(6).reshape(2, 3)) is 0 3 1 4 2 5 in memory.
        assert_eq!(to_row_major(&[0., 3., 1., 4., 2., 5.], &[2, 3]), [0., 1., 2., 3., 4., 5.]);
        assert_eq!(to_row_major(&[7.0], &[]), [7.0]);
    }

    #[test]
    fn other_formats_and_types_are_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "no archive").unwrap();
        assert!(format!("{:#}", read_npz(&path).unwrap_err()).contains("expected an .npz file"));
        assert!(format!("{:#}", read_npy(&path).unwrap_err()).contains("expected an .npy file"));
        let mut file = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(&[2]);
        let mut writer = options.writer(&mut file).begin_nd().unwrap();
        writer.extend([1_i64, 2]).unwrap();
        writer.finish().unwrap();
        std::fs::write(&path, file).unwrap();
        assert!(format!("{:#}", read_npy(&path).unwrap_err()).contains("found values of type"));
        // A header that npyz alone would take hours to parse.
        let nested = format!("{{'descr': {}", "[".repeat(60));
        let header = [b"\x93NUMPY\x01\x00\x40\x00", format!("{nested:<64}").as_bytes()].concat();
        std::fs::write(&path, header).unwrap();
        assert!(
            format!("{:#}", read_npy(&path).unwrap_err()).contains("describes a structured array")
        );
    }
}

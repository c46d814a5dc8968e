// Reads the SEG or SR of each path that is read with dcmjs, and writes what it finds as JSON, then a
// line "====".

const { createHash } = require("crypto");
const { readFileSync } = require("fs");
const { createInterface } = require("readline");
const { data } = require("dcmjs");

const list = (value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]);
const first = (value) => list(value)[0];

function dataset(path) {
  const bytes = readFileSync(path);
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  return data.DicomMetaDictionary.naturalizeDataset(data.DicomMessage.readFile(buffer).dict);
}

const sha256 = (plane) => createHash("sha256").update(plane).digest("hex");

// Of a label map a mask for each label that is there, else the plane as it is stored.
function masks(plane, identified) {
  if (identified) return [[identified.ReferencedSegmentNumber, plane]];
  const labels = [...new Set(plane)].filter((label) => label);
  return labels.map((label) => [label, plane.map((value) => (value === label ? 1 : 0))]);
}

function frames(seg) {
  const pixels = first(seg.PixelData);
  const binary = seg.SegmentationType === "BINARY";
  const values = binary ? data.BitArray.unpack(pixels) : new Uint8Array(pixels);
  const size = seg.Rows * seg.Columns;
  return list(seg.PerFrameFunctionalGroupsSequence).flatMap((group, number) => {
    const source = first(first(group.DerivationImageSequence).SourceImageSequence);
    const identified = first(group.SegmentIdentificationSequence);
    const plane = values.slice(number * size, (number + 1) * size);
    return masks(plane, identified).map(([segment, mask]) => ({
      segment,
      source: source.ReferencedSOPInstanceUID,
      frame: source.ReferencedFrameNumber ? Number(first(source.ReferencedFrameNumber)) : null,
      sha256: sha256(binary ? mask.map((value) => (value > 1 ? 1 : value)) : mask),
    }));
  });
}

const numbers = (value) => list(value).map(Number);

function item(content) {
  const reference = first(content.ReferencedSOPSequence);
  const measured = first(content.MeasuredValueSequence);
  const values = {
    CODE: () => first(content.ConceptCodeSequence).CodeValue,
    TEXT: () => content.TextValue,
    UIDREF: () => content.UID,
    NUM: () => [Number(measured.NumericValue), first(measured.MeasurementUnitsCodeSequence).CodeValue],
    IMAGE: () => [
      reference.ReferencedSOPInstanceUID,
      ...[reference.ReferencedFrameNumber, reference.ReferencedSegmentNumber].map(numbers),
    ],
    SCOORD: () => numbers(content.GraphicData),
    SCOORD3D: () => numbers(content.GraphicData),
  };
  return {
    name: content.ConceptNameCodeSequence ? first(content.ConceptNameCodeSequence).CodeValue : null,
    value: values[content.ValueType] ? values[content.ValueType]() : null,
    items: list(content.ContentSequence).map(item),
  };
}

const read = (path) => {
  const found = dataset(path);
  return found.Modality === "SEG" ? frames(found) : item(found);
};
createInterface({ input: process.stdin }).on("line", (path) => {
  console.log(JSON.stringify(read(path)));
  console.log("====");
});

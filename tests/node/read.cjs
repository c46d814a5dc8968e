// Reads SEG and SR with dcmjs and prints what it finds as JSON: a list with an entry for each file.

const { createHash } = require("crypto");
const { readFileSync } = require("fs");
const { data } = require("dcmjs");

const list = (value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]);
const first = (value) => list(value)[0];

function dataset(path) {
  const bytes = readFileSync(path);
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  return data.DicomMetaDictionary.naturalizeDataset(data.DicomMessage.readFile(buffer).dict);
}

function frames(seg) {
  const pixels = first(seg.PixelData);
  const values =
    seg.SegmentationType === "BINARY"
      ? data.BitArray.unpack(pixels)
      : new Uint8Array(pixels).map((value) => (seg.SegmentationType === "FRACTIONAL" && value ? 1 : value));
  const size = seg.Rows * seg.Columns;
  return list(seg.PerFrameFunctionalGroupsSequence).map((group, number) => {
    const source = first(first(group.DerivationImageSequence).SourceImageSequence);
    const identified = first(group.SegmentIdentificationSequence);
    const plane = values.slice(number * size, (number + 1) * size).map((value) => (value > 1 ? 1 : value));
    return {
      segment: identified ? identified.ReferencedSegmentNumber : null,
      source: source.ReferencedSOPInstanceUID,
      frame: source.ReferencedFrameNumber ? Number(first(source.ReferencedFrameNumber)) : null,
      sha256: createHash("sha256").update(plane).digest("hex"),
    };
  });
}

function item(content) {
  const reference = first(content.ReferencedSOPSequence);
  const measured = first(content.MeasuredValueSequence);
  const values = {
    CODE: () => first(content.ConceptCodeSequence).CodeValue,
    TEXT: () => content.TextValue,
    UIDREF: () => content.UID,
    NUM: () => [Number(measured.NumericValue), first(measured.MeasurementUnitsCodeSequence).CodeValue],
    IMAGE: () => reference.ReferencedSOPInstanceUID,
    SCOORD: () => list(content.GraphicData).map(Number),
    SCOORD3D: () => list(content.GraphicData).map(Number),
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
console.log(JSON.stringify(process.argv.slice(2).map(read)));

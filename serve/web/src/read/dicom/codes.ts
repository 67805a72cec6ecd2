/** Codes of the DICOM standard that are read. */

/** Tags of the attributes that are read, as dicom-parser writes them. */
export const TAG = {
  syntax: "x00020010",
  imageType: "x00080008",
  mediaClass: "x00020002",
  class: "x00080016",
  instance: "x00080018",
  modality: "x00080060",
  spacingAtDetector: "x00181164",
  spacingNominal: "x00182010",
  series: "x0020000e",
  seriesNumber: "x00200011",
  position: "x00200032",
  orientation: "x00200037",
  samples: "x00280002",
  photometric: "x00280004",
  planar: "x00280006",
  frames: "x00280008",
  rows: "x00280010",
  columns: "x00280011",
  spacing: "x00280030",
  allocated: "x00280100",
  stored: "x00280101",
  highBit: "x00280102",
  signed: "x00280103",
  windowCentre: "x00281050",
  windowWidth: "x00281051",
  intercept: "x00281052",
  slope: "x00281053",
  rescaleType: "x00281054",
  windowFunction: "x00281056",
  paletteDescriptor: ["x00281101", "x00281102", "x00281103"],
  palette: ["x00281201", "x00281202", "x00281203"],
  modalityTable: "x00283000",
  tableDescriptor: "x00283002",
  table: "x00283006",
  windowTable: "x00283010",
  directory: "x00041220",
  pixels: "x7fe00010",
  floatPixels: "x7fe00008",
  doublePixels: "x7fe00009",
  shared: "x52009229",
  perFrame: "x52009230",
  measures: "x00289110",
  planePosition: "x00209113",
  planeOrientation: "x00209116",
  transformation: "x00289145",
  frameWindow: "x00289132",
} as const;

/** Transfer syntaxes: how a file stores its header and its pixels. */
const UID = "1.2.840.10008.1.2";
export const IMPLICIT = UID;
export const EXPLICIT = `${UID}.1`;
const DEFLATED = `${UID}.1.99`;
export const BIG_ENDIAN = `${UID}.2`;
export const RLE = `${UID}.5`;
export const NATIVE = [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN];
/** Of 8 bits with losses, which decoders turn into RGB. */
export const JPEG = [`${UID}.4.50`, `${UID}.4.51`];
export const LOSSLESS_JPEG = [`${UID}.4.57`, `${UID}.4.70`];
export const JPEG_LS = [`${UID}.4.80`, `${UID}.4.81`];
export const JPEG_2000 = [`${UID}.4.90`, `${UID}.4.91`, `${UID}.4.201`, `${UID}.4.202`, `${UID}.4.203`];
export const READABLE = [...NATIVE, RLE, ...JPEG, ...LOSSLESS_JPEG, ...JPEG_LS, ...JPEG_2000];

/** How the identifiers of the standard begin; a maker's own begin otherwise. */
export const STANDARD = "1.2.840.10008.";
/**
 * What the standard stores beside images: tables of contents; waveforms, presentations, measured data, reports, documents
 * and radiotherapy (PS3.6, table A-1).
 */
export const NO_IMAGE = new RegExp(
  "^1\\.2\\.840\\.10008\\.(1\\.3\\.10|5\\.1\\.4\\.(3[489]|4[345])\\..*|" +
    "5\\.1\\.4\\.1\\.1\\.((9|1[01]|6[67]|7[89]|8[0128]|9[01]|104|131|20[01])(\\..*)?|481\\.([2-9]|1\\d|2[0125])))$",
);

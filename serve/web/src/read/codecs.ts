/** Decoders of compressed frames: those of cornerstonejs (WebAssembly), one in JavaScript, and DICOM's run lengths. */
import { Decoder as LosslessDecoder } from "jpeg-lossless-decoder-js";
import charlsWasm from "@cornerstonejs/codec-charls/decodewasm?url";
import jpegWasm from "@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasm?url";
import openjpegWasm from "@cornerstonejs/codec-openjpeg/decodewasm?url";
import { joined } from "./bytes.ts";
import { Refusal } from "./refusal.ts";

/** One decoded frame: whole numbers of `bits` bits as they are stored, samples of one pixel side by side. */
export interface Decoded {
  readonly rows: number;
  readonly columns: number;
  readonly samples: number;
  readonly bits: number;
  readonly values: Uint8Array | Uint16Array | Uint32Array;
}

/** So many segments may stand in front of the size of a JPEG. */
const SEGMENTS = 10_000;

type Decode = (frame: Uint8Array) => Promise<Decoded>;

const LOADED = {
  charls: once(async () => {
    const { default: codec } = await import("@cornerstonejs/codec-charls/decodewasmjs");
    return (await codec(quiet(charlsWasm))).JpegLSDecoder;
  }),
  openjpeg: once(async () => {
    const { default: codec } = await import("@cornerstonejs/codec-openjpeg/decodewasmjs");
    return (await codec(quiet(openjpegWasm))).J2KDecoder;
  }),
  jpeg: once(async () => {
    const { default: codec } = await import("@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs");
    return (await codec(quiet(jpegWasm))).JPEGDecoder;
  }),
};

/** Load all of them, so that nothing is left to be asked for later. */
export async function loadCodecs(): Promise<void> {
  await Promise.all(Object.values(LOADED).map((load) => load()));
}

/** JPEG of 8 bits; colour comes out as RGB. */
export const decodeJpeg: Decode = async (frame) => emscripten(await LOADED.jpeg(), frame);
export const decodeJpegLs: Decode = async (frame) => emscripten(await LOADED.charls(), frame);
export const decodeJpeg2000: Decode = async (frame) => emscripten(await LOADED.openjpeg(), frame);

export const decodeLosslessJpeg: Decode = async (frame) => {
  let end = frame.length;
  while (end > 2 && frame[end - 1] === 0) end--;
  if (!(frame[end - 2] === 0xff && frame[end - 1] === 0xd9)) throw new Error("the image has no end");
  // The decoder does not tell that the bytes ended early, and loses a last value whose code ends with them: a byte more.
  const decoder = new LosslessDecoder();
  const bytes = decoder.decompress(joined([frame.subarray(0, end - 2), Uint8Array.of(0, 0xff, 0xd9)]).buffer);
  const { precision, dimX, dimY, numComp } = decoder.frame;
  const values = precision > 8 ? new Uint16Array(bytes) : new Uint8Array(bytes);
  if (decoder.yLoc < dimY || values.length !== dimX * dimY * numComp) throw new Error("no whole image");
  return { rows: dimY, columns: dimX, samples: numComp, bits: precision, values };
};

/** Rows, columns and samples that a JPEG, of any kind but JPEG 2000, says it has; undefined where it does not say. */
export function sizeOfJpeg(frame: Uint8Array): [number, number, number] | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  for (let at = 2, segments = 0; segments < SEGMENTS; ) {
    at = frame.indexOf(0xff, at);
    if (at < 0 || at + 9 >= frame.length) return undefined;
    const marker = frame[at + 1]!;
    const isFrame = marker === 0xf7 || (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker));
    if (isFrame) return [view.getUint16(at + 5), view.getUint16(at + 7), frame[at + 9]!];
    if (marker === 0xd9 || marker === 0xda) return undefined; // the end, or the data
    // As decoders do: other bytes are skipped, and some markers stand alone.
    if (marker === 0xff) at += 1;
    else if (marker <= 1 || (marker >= 0xd0 && marker <= 0xd8)) at += 2;
    else {
      at += 2 + view.getUint16(at + 2);
      segments++;
    }
  }
  return undefined;
}

/** DICOM's run lengths (PS3.5, annex G): one segment for each byte of a sample, the highest first. */
export function decodeRle(frame: Uint8Array, rows: number, columns: number, samples: number, bytes: number): Decoded {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const pixels = rows * columns;
  const segments = view.getUint32(0, true);
  if (segments !== samples * bytes) throw new Error("another number of segments than the header gives");
  const array = bytes === 1 ? Uint8Array : bytes === 2 ? Uint16Array : Uint32Array;
  const values = new array(pixels * samples);
  for (let segment = 0; segment < segments; segment++) {
    const start = view.getUint32(4 + 4 * segment, true);
    const end = segment + 1 < segments ? view.getUint32(8 + 4 * segment, true) : frame.length;
    const sample = Math.trunc(segment / bytes);
    const shift = 8 * (bytes - 1 - (segment % bytes));
    let from = start;
    let to = 0;
    while (to < pixels && from < end) {
      const header = view.getInt8(from++);
      if (header === -128) continue;
      const isRun = header < 0;
      const length = Math.min(isRun ? 1 - header : header + 1, pixels - to);
      for (let i = 0; i < length; i++, to++) {
        values[to * samples + sample]! |= view.getUint8(isRun ? from : from + i) << shift;
      }
      from += isRun ? 1 : header + 1;
    }
    if (to < pixels) throw new Error("the run lengths end before the image");
  }
  return { rows, columns, samples, bits: 8 * bytes, values };
}

function emscripten(decoderClass: new () => CodecDecoder, frame: Uint8Array): Decoded {
  const decoder = new decoderClass();
  try {
    decoder.getEncodedBuffer(frame.length).set(frame);
    decoder.decode();
    const { width, height, bitsPerSample, componentCount } = decoder.getFrameInfo();
    const bytes = decoder.getDecodedBuffer().slice();
    const size = width * height * componentCount;
    if (!size || bytes.length < size * (bitsPerSample > 8 ? 2 : 1)) throw new Error("no whole image");
    if (bitsPerSample > 16) throw new Error("deeper than the decoder's numbers");
    let values = bitsPerSample > 8 ? new Uint16Array(bytes.buffer, 0, size) : bytes.subarray(0, size);
    if (componentCount > 1 && decoder.getInterleaveMode?.() === 0) {
      const [planes, pixels] = [values, size / componentCount]; // one behind the other
      values = planes.map((_, i) => planes[(i % componentCount) * pixels + Math.trunc(i / componentCount)]!);
    }
    return { rows: height, columns: width, samples: componentCount, bits: bitsPerSample, values };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Error("the decoder gave up"); // Emscripten's errors are numbers, or quote addresses
  } finally {
    decoder.delete();
  }
}

/** A module's settings: where its .wasm is, and that it says nothing on the console. */
function quiet(address: string) {
  return { locateFile: () => address, print: () => {}, printErr: () => {} };
}

function once<T>(load: () => Promise<T>): () => Promise<T> {
  let loading: Promise<T> | undefined;
  return () => (loading ??= load());
}

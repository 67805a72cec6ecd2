/** What is used of codecs that bring no types: those of cornerstonejs, built with Emscripten, and lossless JPEG. */
interface CodecFrame {
  readonly width: number;
  readonly height: number;
  readonly bitsPerSample: number;
  readonly componentCount: number;
}

interface CodecDecoder {
  getEncodedBuffer(length: number): Uint8Array;
  getDecodedBuffer(): Uint8Array;
  getFrameInfo(): CodecFrame;
  /** Of JPEG-LS alone: 0 if the samples of a pixel do not stand side by side. */
  getInterleaveMode?(): number;
  decode(): void;
  delete(): void;
}

type Codec<Name extends string> = (module: { locateFile: () => string; print: () => void; printErr: () => void }) => Promise<
  Record<Name, new () => CodecDecoder>
>;

declare module "@cornerstonejs/codec-charls/decodewasmjs" {
  const codec: Codec<"JpegLSDecoder">;
  export default codec;
}
declare module "@cornerstonejs/codec-openjpeg/decodewasmjs" {
  const codec: Codec<"J2KDecoder">;
  export default codec;
}
declare module "@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs" {
  const codec: Codec<"JPEGDecoder">;
  export default codec;
}
declare module "jpeg-lossless-decoder-js" {
  export class Decoder {
    /** The row that it has come to. */
    readonly yLoc: number;
    readonly frame: { readonly precision: number; readonly dimX: number; readonly dimY: number; readonly numComp: number };
    decompress(jpeg: ArrayBuffer): ArrayBuffer;
  }
}

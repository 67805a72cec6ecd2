/** The worker that reads files, so that no file can freeze the page; the page ends it when it takes too long. */
import { loadCodecs } from "./read/codecs.ts";
import { read } from "./read/read.ts";
import { Refusal } from "./read/refusal.ts";
import type { ReadAnswer, ReadRequest } from "./messages.ts";

self.onmessage = async ({ data }: MessageEvent<ReadRequest>) => {
  try {
    if (data.task === "prepare") {
      await loadCodecs();
      self.postMessage({ id: data.id } satisfies ReadAnswer);
      return;
    }
    const scan = await read(data.members, data.selection, data.colour);
    self.postMessage({ id: data.id, scan } satisfies ReadAnswer, { transfer: [scan.pixels.buffer] });
  } catch (error) {
    const name = "members" in data ? (data.members[0]?.name ?? "the file") : "the page";
    const refusal = error instanceof Refusal ? error.message : `${name}: it cannot be read; it may be damaged.`;
    self.postMessage({ id: data.id, refusal } satisfies ReadAnswer);
  }
};

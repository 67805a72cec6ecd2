/** What a person can mend, in one sentence: the page's form of `liquidlens.LiquidLensError`. */
export class Refusal extends Error {
  constructor(sentence: string) {
    // Sentences quote names of files, which strangers chose: nothing in them may end a line.
    super(sentence.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, escaped));
    this.name = "Refusal";
  }
}

function escaped(letter: string): string {
  const code = letter.charCodeAt(0);
  const short = { 9: "\\t", 10: "\\n", 13: "\\r" }[code];
  if (short) return short;
  return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

/**
 * Run `read`, and make a sentence that names the file of whatever it throws: damaged files lead to all kinds of errors.
 * What a DICOM reader throws is not repeated: it may quote what the file holds, the patient's name included.
 */
export async function reading<T>(name: string, kind: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof Refusal) throw new Refusal(`${name}: ${error.message}`);
    const text = error instanceof Error ? error.message : "";
    const large = error instanceof RangeError && /alloc|length/i.test(text);
    if (large) throw new Refusal(`${name}: there is not enough memory to read it in this browser.`);
    const line = kind === "DICOM" ? "" : text.split("\n")[0]!.slice(0, 200);
    const reason = line ? ` (${line.replace(/\.$/, "")})` : "";
    throw new Refusal(`${name}: not a readable ${kind} file; it may be damaged${reason}.`);
  }
}

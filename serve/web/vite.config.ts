import { existsSync, readFileSync, readdirSync } from "node:fs";
import { gzipAsync } from "@gfx/zopfli";
import { defineConfig, type Plugin } from "vite";

const RUNTIME = new URL("node_modules/onnxruntime-web/dist/", import.meta.url);
const FILES: Record<string, string> = {
  "virtual:runtime-module": "ort-wasm-simd-threaded.mjs",
  "virtual:runtime-wasm": "ort-wasm-simd-threaded.wasm",
};

/**
 * The runtime's files, as addresses: the module as it is, because it starts its threads from its own address, and the
 * WebAssembly packed, by zopfli, whose bytes are the same on every machine and 170 kB fewer than those of zlib.
 */
function runtime(): Plugin {
  return {
    name: "runtime",
    resolveId: (id) => (id in FILES ? `\0${id}` : null),
    async load(id) {
      const file = FILES[id.slice(1)];
      if (!file) return null;
      const content = readFileSync(new URL(file, RUNTIME));
      const isPacked = file.endsWith(".wasm");
      const source = isPacked ? await gzipAsync(content, { numiterations: 1 }) : content;
      const reference = this.emitFile({ type: "asset", name: isPacked ? `${file}.packed` : file, source });
      return `export default import.meta.ROLLUP_FILE_URL_${reference};`;
    },
  };
}

/** NiiVue's decompressors for zarr stores, 1.4 MB, which this page never opens. */
function withoutZarr(): Plugin {
  return {
    name: "without-zarr",
    enforce: "pre",
    resolveId: (id) => (/^numcodecs\/(blosc|lz4|zstd)$/.test(id) ? `\0${id}` : null),
    load: (id) => (id.startsWith("\0numcodecs/") ? "export default class {}" : null),
  };
}

/** The licences of all packages that are not tools, as their texts ask: LICENSES.txt beside the page. */
function licences(): Plugin {
  return {
    name: "licences",
    generateBundle() {
      const { packages } = JSON.parse(readFileSync(new URL("package-lock.json", import.meta.url), "utf8"));
      const texts = Object.entries<{ dev?: boolean; optional?: boolean; version: string; license?: string }>(packages)
        .filter(([folder, { dev, optional }]) => folder && !dev && !optional)
        .map(([folder, { version, license }]) => {
          const place = new URL(`${folder}/`, import.meta.url);
          const file = existsSync(place) ? readdirSync(place).sort().find((name) => /^licen[cs]e/i.test(name)) : undefined;
          const name = folder.replace(/^.*node_modules\//, "");
          return `${name} ${version} (${license})\n\n${file ? readFileSync(new URL(file, place), "utf8").trim() : ""}\n`;
        });
      this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: texts.join(`\n${"-".repeat(80)}\n\n`) });
    },
  };
}

const NAMES = {
  entryFileNames: "assets/[name].js",
  chunkFileNames: "assets/[name].js",
  assetFileNames: "assets/[name][extname]",
};

export default defineConfig({
  base: "./",
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", "module", "browser", "import", "default"] },
  plugins: [withoutZarr(), licences()],
  worker: { format: "es", plugins: () => [runtime()], rolldownOptions: { output: NAMES } },
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 4096,
    rolldownOptions: {
      input: ["index.html", "src/sw.ts"],
      output: { ...NAMES, entryFileNames: ({ name }) => (name === "sw" ? "sw.js" : "assets/[name].js") },
    },
  },
});

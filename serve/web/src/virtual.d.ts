/** The runtime's files, made by vite.config.ts: their addresses. */
declare module "virtual:runtime-module" {
  const address: string;
  export default address;
}
declare module "virtual:runtime-wasm" {
  const address: string;
  export default address;
}

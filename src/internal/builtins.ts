/**
 * Node's modules that a sidecar needs sometimes, and that cost memory as soon as they are there: loaded at their first use.
 * `import` would load them at the start, and read every export as well, behind some of which stand further modules.
 * What a process has at rest, by itself: tls 7 MiB (and a thread that parses all certificates it may trust), util 3, zlib 2,
 * http 16 where it is imported, since one export of it is undici.
 */
export const builtins = {
  get http() {
    return process.getBuiltinModule("node:http")
  },
  get tls() {
    return process.getBuiltinModule("node:tls")
  },
  get util() {
    return process.getBuiltinModule("node:util")
  },
  get zlib() {
    return process.getBuiltinModule("node:zlib")
  }
}

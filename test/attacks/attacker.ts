/** `node attacker.ts NUMBER HOST PORT`: does one attack for as long as it lives, with what the others leave of the processor. */
import * as os from "node:os"
import { attacks } from "./attacks.ts"

os.setPriority(10)
process.send?.("begins")
const [number = "", host = "", port = ""] = process.argv.slice(2)
await attacks[Number(number)]?.run({ host, port: Number(port) })

import { parseArgs } from "node:util"
import { playCuts, playHostile } from "./hostile.ts"
import { playPair } from "./pair.ts"

/**
 * Plays random HTTP/2 traffic for a while, seed after seed, and stops at the first fault:
 * `npm run fuzz -- --seconds 600`, one seed again: `npm run fuzz -- --game hostile --seed 7`.
 */
const games = { pair: playPair, hostile: playHostile, cuts: playCuts }

const isGame = (name: string): name is keyof typeof games => Object.hasOwn(games, name)

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string" },
    game: { type: "string" }
  }
})

const chosen = values.game === undefined ? Object.keys(games).filter(isGame) : [values.game].filter(isGame)
if (chosen.length === 0) {
  console.error(`There is no game ${values.game}: --game is one of ${Object.keys(games).join(", ")}`)
  process.exit(2)
}

const first = values.seed === undefined ? Math.floor(Math.random() * 0x7fffffff) : Number(values.seed)
const until = performance.now() + Number(values.seconds) * 1000
const last = values.seed === undefined ? Number.POSITIVE_INFINITY : first
let runs = 0
for (let seed = first; seed <= last && performance.now() < until; seed++) {
  for (const game of chosen) {
    try {
      games[game](seed)
      runs++
    } catch (error) {
      console.error(`--game ${game} --seed ${seed}:`, error)
      process.exit(1)
    }
  }
}
console.log(`${runs} games from seed ${first} on, no fault`)

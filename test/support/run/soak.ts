/** Whether the long forms are asked for: `npm run test:soak`. */
const asked = process.env["SOAK"] === "1"

/** How much of something a test does: `short` in each run of the suite, `long` where the long forms are asked for. */
export const soak = <A>(long: A, short: A): A => asked ? long : short

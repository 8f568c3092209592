/** What the stand-in worker says: text of its own about the prompt, always the same for the same prompt. */

const QUOTE_CHARS = 60

const quote = (prompt: string): string => {
  const line = prompt.replace(/\s+/g, " ").trim()
  const characters = [...line]
  return characters.length <= QUOTE_CHARS ? line : `${characters.slice(0, QUOTE_CHARS).join("")}…`
}

const chinese = (prompt: string, model: string): string =>
  `你好！我是替身模型 ${model}，你说的是“${quote(prompt)}”。`
  + "我并不真正思考，只是一个字一个字地把这段话送出来，好让你看到整条链路是通的。"
  + "每个词元都从这个进程出发，经过一个 Unix 套接字到达边车，再由边车原样转给你。"
  + "把我换成真正的推理引擎，路上的其他部分不必改动。"

const english = (prompt: string, model: string): string =>
  `Hello! This is the stand-in model ${model}, and you said: "${quote(prompt)}". `
  + "I do not think; I only send these words one by one, so that you can see the whole path at work. "
  + "Each token leaves this process, crosses a Unix socket to the sidecar, and comes to you untouched. "
  + "Put a real engine in my place, and nothing else on the way has to change."

const isHan = (text: string): boolean => /\p{Script=Han}/u.test(text)

/** Splits text into pieces of about a token: a word with the space before it, or a word of Chinese. */
export const tokenize = (text: string): ReadonlyArray<string> => {
  const tokens: Array<string> = []
  let space = ""
  for (const { segment } of new Intl.Segmenter("zh", { granularity: "word" }).segment(text)) {
    if (/^\s+$/.test(segment)) space += segment
    else {
      tokens.push(space + segment)
      space = ""
    }
  }
  if (space !== "") tokens.push(space)
  return tokens
}

/**
 * The answer's tokens, in Chinese to a prompt with Chinese characters, else in English.
 *
 * @param count how many; the text is cut or repeated to fit. `undefined`: the text once.
 */
export const answerTo = (prompt: string, model: string, count: number | undefined): ReadonlyArray<string> => {
  const name = model === "" ? "stand-in" : model
  const text = tokenize(isHan(prompt) ? chinese(prompt, name) : english(prompt, name))
  if (count === undefined) return text
  return Array.from({ length: count }, (_, at) => {
    const token = text[at % text.length] ?? ""
    return at > 0 && at % text.length === 0 ? `\n${token}` : token
  })
}

const STEPS = [
  "正在检查显存资源...",
  "正在读取模型配置...",
  "正在加载模型权重...",
  "正在分配 KV 缓存...",
  "正在预热..."
]

/** Progress notices as a worker sends them while a model loads: text for people, each on a line of its own. */
export const loadingNotices = (count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, at) => `[模型加载] ${STEPS[at % STEPS.length] ?? ""}\n`)

/** Cuts JSON text into the texts of its parts, so that a value goes on as its sender wrote it. */

/**
 * The values of an object by their names, each as it was written; of a name that comes twice the last counts.
 * Undefined when the text is no object. The text has been parsed before: what is no JSON gives anything.
 */
export const members = (text: string): ReadonlyMap<string, string> | undefined => {
  let at = blank(text, 0)
  if (text[at] !== "{") return undefined
  const found = new Map<string, string>()
  at = blank(text, at + 1)
  while (text[at] === '"') {
    const end = stringEnd(text, at)
    const name = JSON.parse(text.slice(at, end)) as string
    const from = blank(text, blank(text, end) + 1)
    const to = valueEnd(text, from)
    found.set(name, text.slice(from, to))
    at = blank(text, blank(text, to) + 1)
  }
  return found
}

/** The items of an array, each as it was written; undefined when the text is none. It has been parsed before. */
export const items = (text: string): ReadonlyArray<string> | undefined => {
  let at = blank(text, 0)
  if (text[at] !== "[") return undefined
  const found: Array<string> = []
  at = blank(text, at + 1)
  while (at < text.length && text[at] !== "]") {
    const end = valueEnd(text, at)
    found.push(text.slice(at, end))
    at = blank(text, end)
    if (text[at] === ",") at = blank(text, at + 1)
  }
  return found
}

const quote = 0x22
const backslash = 0x5c

/** The first place from `at` on that is no white space. */
const blank = (text: string, at: number): number => {
  for (let i = at; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return i
  }
  return text.length
}

const stringEnd = (text: string, at: number): number => {
  for (let i = at + 1; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === backslash) i++
    else if (code === quote) return i + 1
  }
  return text.length
}

const valueEnd = (text: string, at: number): number => {
  let depth = 0
  for (let i = at; i < text.length; ) {
    const code = text.charCodeAt(i)
    if (code === quote) {
      i = stringEnd(text, i)
      if (depth === 0) return i
      continue
    }
    // [ and {
    if (code === 0x5b || code === 0x7b) depth++
    // ] and }
    else if (code === 0x5d || code === 0x7d) {
      if (depth === 0) return i
      if (--depth === 0) return i + 1
    } else if (depth === 0 && (code === 0x2c || blank(text, i) !== i)) return i
    i++
  }
  return text.length
}

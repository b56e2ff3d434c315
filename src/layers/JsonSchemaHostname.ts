/** Host names, and international ones by IDNA 2008, as formats. */
import { domainToASCII, domainToUnicode } from "node:url"

/** https://www.rfc-editor.org/rfc/rfc1123#section-2.1, and https://www.rfc-editor.org/rfc/rfc5890#section-2.3.2.1 for `xn--`. */
export const hostname = (text: string): boolean => /^[\x21-\x7e]+$/.test(text) && international(text)

/** https://www.rfc-editor.org/rfc/rfc5890#section-2.3.2.3 */
export const international = (text: string): boolean => {
  // Nothing longer can be one: so its time is bounded.
  if (text.length > charactersMax) return false
  const labels = text.split(/[.\u3002\uff0e\uff61]/)
  if (!labels.every((label) => (/^[\x20-\x7e]*$/.test(label) ? plain(label) : letters(label)))) return false
  const written = domainToASCII(labels.join("."))
  // Of names that are read from right to left each label begins with a letter.
  const leftward = labels.some((label) => rightToLeft.test(/^xn--/i.test(label) ? domainToUnicode(label) : label))
  return (
    written.length > 0 && written.length <= charactersMax && !(leftward && labels.some((label) => /^\d/.test(label)))
  )
}

const charactersMax = 253
const rightToLeft = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u

const plain = (label: string): boolean => {
  if (!/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(label)) return false
  if (!label.startsWith("--", 2)) return true
  const meaning = /^xn--/i.test(label) ? domainToUnicode(label) : ""
  return /[\u{80}-\u{10ffff}]/u.test(meaning) && letters(meaning) && domainToASCII(meaning) === label.toLowerCase()
}

/** https://www.rfc-editor.org/rfc/rfc5891#section-5.4; directions are checked where it is written in ASCII. */
const letters = (label: string): boolean => {
  const written = domainToASCII(label)
  return (
    written.length > 0 &&
    written.length <= 63 &&
    domainToUnicode(written) === label &&
    !/^-|^..--|-$|^\p{M}/u.test(label) &&
    allowed.test(label) &&
    ![...label].some(isIgnorable) &&
    !/[\u0640\u07fa\u302e\u302f\u3031-\u3035\u303b]/.test(label) &&
    joins(label) &&
    contexts.every(([character, context]) => !label.includes(character) || context.test(label)) &&
    !(/[\u0660-\u0669]/.test(label) && /[\u06f0-\u06f9]/.test(label))
  )
}

/** Only the first joiner is looked at where a label is written in ASCII: so each is the first once. */
const joins = (label: string): boolean =>
  [...label.matchAll(/\u200c|\u200d/g)].every(({ 0: joiner, index }) => {
    const [before, after] = [label.slice(0, index), label.slice(index + 1)]
    return domainToASCII(`${before.replaceAll(/\u200c|\u200d/g, "")}${joiner}${after}`) !== ""
  })

/** https://www.rfc-editor.org/rfc/rfc5892#section-3 */
const allowed =
  /^(?:\u200c|\u200d|[a-z0-9\-\u06fd\u06fe\u0f0b\u3007\u00b7\u0375\u05f3\u05f4\u30fb]|[\p{Ll}\p{Lo}\p{Lm}\p{Mn}\p{Mc}\p{Nd}])+$/u

/** Old Hangul, marks for symbols and music, and what is not shown: https://www.rfc-editor.org/rfc/rfc5892#section-2.4 and 2.5 */
const isIgnorable = (character: string): boolean => {
  const code = character.codePointAt(0)!
  return (
    (/\p{DI}/u.test(character) && !/\u200c|\u200d/.test(character)) ||
    ignorable.some(([from, to]) => code >= from && code <= to)
  )
}
const ignorable = [
  [0x1100, 0x11ff],
  [0xa960, 0xa97f],
  [0xd7b0, 0xd7ff],
  [0x20d0, 0x20ff],
  [0x1d100, 0x1d24f]
] as const

/** https://www.rfc-editor.org/rfc/rfc5892#appendix-A: where these stand in the whole label. */
const contexts: ReadonlyArray<readonly [string, RegExp]> = [
  ["\u00b7", /^(?:[^\u00b7]|(?<=l)\u00b7(?=l))*$/],
  ["\u0375", /^(?:[^\u0375]|\u0375(?=\p{Script=Greek}))*$/u],
  ["\u05f3", /^(?:[^\u05f3]|(?<=\p{Script=Hebrew})\u05f3)*$/u],
  ["\u05f4", /^(?:[^\u05f4]|(?<=\p{Script=Hebrew})\u05f4)*$/u],
  ["\u30fb", /[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}]/u]
]

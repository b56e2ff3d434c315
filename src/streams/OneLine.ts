/** Text from outside on one line of a terminal: what would move the cursor or begin a line is written out. */

const escaped = (character: string): string =>
  JSON.stringify(character).startsWith('"\\')
    ? JSON.stringify(character).slice(1, -1)
    : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`

export const oneLine = (text: string): string => text.replaceAll(/\p{Cc}/gu, escaped)

/** The same for text that has lines of its own. */
export const lines = (text: string): string => text.replaceAll(/[^\P{Cc}\n\t]/gu, escaped)

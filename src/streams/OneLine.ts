/** Text from outside on one line of a terminal: what would move the cursor or begin a line is written out. */

// Besides control characters those that turn the direction of what follows.
const moving = /[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu
const movingButLines = /[^\P{Cc}\n\t]|[\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu

const escaped = (character: string): string =>
  JSON.stringify(character).startsWith('"\\')
    ? JSON.stringify(character).slice(1, -1)
    : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`

export const oneLine = (text: string): string => text.replaceAll(moving, escaped)

/** The same for text that has lines of its own. */
export const lines = (text: string): string => text.replaceAll(movingButLines, escaped)

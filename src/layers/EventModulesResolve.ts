/** Lets event modules import this program by its name from wherever they lie, and gives changed files a new copy. */
import { registerHooks } from "node:module"
import { dirname, extname, sep } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

/** This file's own ending: the program runs from its sources or as built. */
const ending = extname(fileURLToPath(import.meta.url))
const layers = dirname(fileURLToPath(import.meta.url))

const named: Readonly<Record<string, string>> = {
  sluice: "Sluice",
  "sluice/hasura": "HasuraCompat",
  "sluice/testing": "Testing"
}

/** The file behind a name such as `sluice/hasura` or `sluice/services/Reply`. */
const fileOf = (specifier: string): string | undefined => {
  if (Object.hasOwn(named, specifier)) return `${layers}/${named[specifier]}${ending}`
  const part = /^sluice\/(services|streams|layers)\/([A-Za-z0-9]+)(?:\.js|\.ts)?$/.exec(specifier)
  return part === null ? undefined : `${dirname(layers)}/${part[1]}/${part[2]}${ending}`
}

/** The URL of what most modules import. */
export const hasura = pathToFileURL(`${layers}/HasuraCompat${ending}`).href

/** Whether a file is this program's, of which there must be one copy. */
export const isOwn = (file: string): boolean => file.startsWith(`${dirname(layers)}${sep}`)

/** The mark of a copy, in the query of its URL. */
const mark = "sluice-copy"

/** The URL of a copy of its own; what it imports by relative paths are copies too. */
export const copyOf = (url: string, version: number): string => (version === 0 ? url : `${url}?${mark}=${version}`)

let registered = false

/** Once for the process. What can be found without it is found as before. */
export const register = (): void => {
  if (registered) return
  registered = true
  registerHooks({
    resolve: (specifier, context, next) => {
      if (specifier === "sluice" || specifier.startsWith("sluice/")) {
        const file = fileOf(specifier)
        if (file === undefined) return next(specifier, context)
        try {
          return next(specifier, context)
        } catch {
          return next(context.conditions.includes("require") ? file : pathToFileURL(file).href, context)
        }
      }
      const found = next(specifier, context)
      const copy = specifier.startsWith(".") ? context.parentURL?.split(`?${mark}=`)[1] : undefined
      const isPart = copy !== undefined && !context.conditions.includes("require") && !found.url.includes("?")
      return isPart && !found.url.includes("/node_modules/") ? { ...found, url: `${found.url}?${mark}=${copy}` } : found
    }
  })
}

/** Reads one field of a form, urlencoded or multipart, without building the others. */

/** The first value of a field, as text; undefined when the body is no form or has no such field. */
export const field = (contentType: string, body: Uint8Array, name: string): string | undefined => {
  const [type = ""] = contentType.split(";", 1)
  switch (type.trim().toLowerCase()) {
    case "application/x-www-form-urlencoded":
      return urlencoded(utf8.decode(body), name)
    case "multipart/form-data": {
      const boundary = parameter(contentType, "boundary")
      // Source: RFC 2046, 5.1.1.
      if (boundary === undefined || boundary === "" || boundary.length > 70) return undefined
      return multipart(utf8.decode(body), boundary, name)
    }
    default:
      return undefined
  }
}

/** Wrong bytes are replaced: what they stood for is found out by whoever reads the value. */
const utf8 = new TextDecoder()

/** Source: https://url.spec.whatwg.org/#urlencoded-parsing */
const urlencoded = (text: string, name: string): string | undefined => {
  for (let from = 0; from <= text.length; ) {
    const next = text.indexOf("&", from)
    const end = next < 0 ? text.length : next
    const equals = text.indexOf("=", from)
    const nameEnd = equals < 0 || equals > end ? end : equals
    const isNamed = nameEnd - from === name.length && text.startsWith(name, from)
    // A name of ours that came in escapes is at most three times as long.
    const isEscaped = nameEnd - from <= 3 * name.length && unescaped(text.slice(from, nameEnd)) === name
    if (isNamed || isEscaped) return unescaped(text.slice(Math.min(nameEnd + 1, end), end))
    from = end + 1
  }
  return undefined
}

/** The platform's own parser replaces escapes that mean nothing; what separates fields is gone by now. */
const unescaped = (text: string): string => new URLSearchParams(`v=${text}`).get("v")!

/** Source: RFC 7578. Parts with a file name are files, not fields. */
const multipart = (text: string, boundary: string, name: string): string | undefined => {
  const delimiter = `--${boundary}`
  let at = text.startsWith(delimiter) ? 0 : after(text, `\r\n${delimiter}`, 0, 2)
  while (at >= 0) {
    const line = at + delimiter.length
    if (text.startsWith("--", line)) return undefined
    const head = text.indexOf("\r\n", line)
    if (head < 0) return undefined
    const bodyFrom = text.startsWith("\r\n", head + 2) ? head + 4 : after(text, "\r\n\r\n", head, 4)
    if (bodyFrom < 0) return undefined
    const end = text.indexOf(`\r\n${delimiter}`, bodyFrom - 2)
    if (end < 0) return undefined
    if (isField(text.slice(head + 2, bodyFrom), name)) return text.slice(bodyFrom, Math.max(end, bodyFrom))
    at = end + 2
  }
  return undefined
}

const after = (text: string, mark: string, from: number, by: number): number => {
  const at = text.indexOf(mark, from)
  return at < 0 ? -1 : at + by
}

const isField = (head: string, name: string): boolean => {
  // A head of this length holds no field of ours.
  if (head.length > 4096) return false
  const line = head.split("\r\n").find((line) => /^content-disposition\s*:/i.test(line))
  if (line === undefined || !/^[^:]*:\s*form-data\s*(;|$)/i.test(line)) return false
  return parameter(line, "name") === name && parameter(line, "filename") === undefined
}

/** A parameter of a header, quoted or not. */
export const parameter = (header: string, name: string): string | undefined => {
  const parts = /;\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/g
  for (const [, key, quoted, plain] of header.matchAll(parts)) {
    if (key!.toLowerCase() === name) return quoted?.replaceAll(/\\(.)/g, "$1") ?? plain
  }
  return undefined
}

/** CURVE keys as text, and the public key of a secret one. */
import { Buffer } from "node:buffer"
import { createPrivateKey, createPublicKey } from "node:crypto"

/** Units: Z85 text of 40 characters. A CURVE key pair is one of X25519. */
export const publicOf = (secretKey: string): string => {
  const key = createPrivateKey({ key: Buffer.concat([pkcs8, decode(secretKey)]), format: "der", type: "pkcs8" })
  return encode(createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-keyBytes))
}

const keyBytes = 32
/** What stands before the 32 bytes of a private key of X25519. Source: https://www.rfc-editor.org/rfc/rfc8410#section-7 */
const pkcs8 = Buffer.from("302e020100300506032b656e04220420", "hex")

/** Source: https://rfc.zeromq.org/spec/32/ */
const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

const decode = (text: string): Buffer => {
  const bytes = Buffer.alloc(keyBytes)
  for (let at = 0; at < keyBytes / 4; at++) {
    let value = 0
    for (const digit of text.slice(at * 5, at * 5 + 5)) value = value * 85 + digits.indexOf(digit)
    // Five digits can say more than four bytes hold; what is beyond says nothing in a key.
    bytes.writeUInt32BE(value % 2 ** 32, at * 4)
  }
  return bytes
}

const encode = (bytes: Buffer): string => {
  let text = ""
  for (let at = 0; at < bytes.length; at += 4) {
    let value = bytes.readUInt32BE(at)
    let part = ""
    for (let i = 0; i < 5; i++) {
      part = digits[value % 85] + part
      value = Math.floor(value / 85)
    }
    text += part
  }
  return text
}

/** What a module does after it has waited for something. */

export const loop = () => {
  while (true);
}

export const awaitForever = async () => {
  while (true) await null
}

"use strict";
for (const picture of document.querySelectorAll(".picture")) {
  const { rows, columns, low, step, unit, values } = picture.dataset;
  const said = picture.parentElement.querySelector("output");
  const cross = picture.querySelector(".cross");
  let row = Math.floor(rows / 2), column = Math.floor(columns / 2), levels = null;

  async function unpacked() {
    const bytes = Uint8Array.from(atob(values), (each) => each.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new DataView(await new Response(stream).arrayBuffer());
  }
  async function say() {
    levels ??= await unpacked();
    const value = Number(low) + Number(step) * levels.getUint16(2 * (row * columns + column), true);
    said.value = `row ${row + 1}, column ${column + 1}: ${Number(value.toPrecision(4))} ${unit}`;
    cross.hidden = false;
    cross.style.left = `${(100 * (column + 0.5)) / columns}%`;
    cross.style.top = `${(100 * (row + 0.5)) / rows}%`;
  }
  function within(value, count) {
    return Math.min(Math.max(Math.floor(value), 0), count - 1);
  }
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    row = within(((event.clientY - box.top) / box.height) * rows, rows);
    column = within(((event.clientX - box.left) / box.width) * columns, columns);
    say();
  });
  picture.addEventListener("focus", say);
  picture.addEventListener("keydown", (event) => {
    const way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    row = within(row + way[0], rows);
    column = within(column + way[1], columns);
    say();
  });
}

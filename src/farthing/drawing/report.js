// Draws every figure of the page, filters the rejected candidates, and fits the figures to paper.
const PAPER_WIDTH = 680;
const plots = [...document.querySelectorAll(".plot")];

for (const plot of plots) {
  const source = plot.querySelector("script");
  const { data, layout } = JSON.parse(source.textContent);
  source.remove();
  Plotly.newPlot(plot, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
}

const folded = [...document.querySelectorAll("details")];
addEventListener("beforeprint", () => folded.forEach((part) => { part.dataset.was = part.open ? "open" : ""; part.open = true; }));
addEventListener("afterprint", () => folded.forEach((part) => { part.open = part.dataset.was === "open"; }));
addEventListener("beforeprint", () => plots.forEach((plot) => Plotly.relayout(plot, { autosize: false, width: PAPER_WIDTH })));
addEventListener("afterprint", () => plots.forEach((plot) => Plotly.relayout(plot, { autosize: true, width: null })));

const filter = document.getElementById("filter");
if (filter) {
  const stage = document.getElementById("stage");
  const rows = [...document.querySelectorAll("#rejected-rows tr")];
  const update = () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const isOfStage = !stage.value || row.cells[1].textContent === stage.value;
      row.hidden = !(isOfStage && words.every((word) => text.includes(word)));
    }
    document.getElementById("shown").textContent = `${rows.filter((row) => !row.hidden).length} shown`;
  };
  filter.addEventListener("input", update);
  stage.addEventListener("input", update);
}

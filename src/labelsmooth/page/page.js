
// page.js: the controls, the predictions, and one function that draws everything after each change.

let state = readAddress(location.hash);
let tableKey = "", writing = 0, playing = 0;
const PANELS = { hero: drawHero, table: drawTable, target: drawTarget, prediction: drawPrediction, loss: drawLoss, push: drawPush, stop: drawStop, train: drawTraining, heat: drawHeat, mistakes: drawMistakes };
const inView = new Set(Object.keys(PANELS)); // or nearly
const late = new Set(); // panels that wait to be drawn
let resting = 0;

// Draws every panel. While a slider moves only what can be seen and is quickly made, and the rest when the hand rests or it is
// scrolled to: the slider must not wait for it. What is drawn late may grow by a line and move what stands below it, so nothing
// else is late. A line more or less resizes the page, which therefore draws no more than a slider does. A panel that would make
// a slider wait draws nothing and says false.
function draw(sliding = false) {
  const view = evaluated(state);
  drawControls(view);
  for (const [name, panel] of Object.entries(PANELS)) if ((!sliding || inView.has(name)) && panel(view, sliding) !== false) late.delete(name); else late.add(name);
  clearTimeout(resting);
  if (late.size) resting = setTimeout(finish, 150);
}

function finish() {
  clearTimeout(resting);
  if (!late.size) return;
  const view = evaluated(state);
  for (const name of late) PANELS[name](view);
  late.clear();
}

function watch() {
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const name = target.dataset.panel;
      if (isIntersecting) inView.add(name); else inView.delete(name);
      if (isIntersecting && late.has(name)) { PANELS[name](evaluated(state)); late.delete(name); }
    }
  }, { rootMargin: "100px" });
  for (const one of document.querySelectorAll("[data-panel]")) seen.observe(one);
}

function change(how, sliding = false) {
  how(state);
  settled(state);
  draw(sliding);
  clearTimeout(writing);
  writing = setTimeout(() => history.replaceState(null, "", `#${writeAddress(state)}`), 120);
}

const slide = (how) => change(how, true);

function drawTraining(view, sliding) {
  drawSteps(view);
  return view.state.tab === "points" ? drawPoints(view, sliding) : drawTrain(view);
}

const TABS = ["row", "points"];

// Shows the part of panel 7 that is chosen, and its steps unless they would give away what is asked.
function drawTabs() {
  const shown = TABS.find((tab) => !byId(`part-${tab}`).hidden && state.tab === tab);
  for (const tab of TABS) {
    const own = tab === state.tab, button = byId(`tab-${tab}`);
    button.setAttribute("aria-selected", own);
    button.tabIndex = own ? 0 : -1;
    byId(`part-${tab}`).hidden = !own;
  }
  byId("steps").hidden = byId(`part-${state.tab}`).querySelector(".answer").hidden;
  if (!shown) measure();
}

function options(select, entries, chosen) {
  const key = JSON.stringify(entries);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...entries.map(([value, words]) => make("option", { value }, words)));
  }
  select.value = chosen;
}

function drawControls({ preset, K }) {
  options(byId("preset"), DATA.presets.map((p) => [p.key, p.title]), state.preset);
  options(byId("row"), preset.rows.map((name, n) => [n, name]).filter(([n]) => state.labels[n] < K), state.row);
  const slider = byId("eps"), exact = byId("eps-exact"), classes = byId("classes");
  slider.value = state.eps;
  slider.setAttribute("aria-valuetext", String(trim(state.eps, 4)));
  if (document.activeElement !== exact) exact.value = state.eps;
  byId("detent").value = (K - 1) / K;
  classes.min = 2; classes.max = mostClasses(preset);
  if (document.activeElement !== classes) classes.value = K;
  byId("explore").checked = !state.predict; byId("predict").checked = state.predict;
  const heat = byId("temperature");
  heat.value = Math.log10(state.temperature);
  heat.setAttribute("aria-valuetext", `T = ${trim(state.temperature, 2)}`);
  byId("temperature-out").textContent = `T = ${trim(state.temperature, 2)}`;
  drawTabs();
  for (const one of document.querySelectorAll("[data-family]")) one.hidden = Number(one.dataset.family) !== state.family;
  for (const one of document.querySelectorAll('input[name="family"]')) one.checked = Number(one.value) === state.family;
  byId("note").textContent = preset.note;
  byId("address").textContent = `Drawn for ${preset.title}, ε = ${trim(state.eps, 4)}. The state stands in the address after the # sign: ${writeAddress(state) || "nothing, as all is at its default"}`;
}

// Of many classes the table shows the label and the largest logits of the chosen row.
function columnsShown({ names, v, n, y, K }) {
  if (K <= TEN) return names.map((_, k) => k);
  const ranked = names.map((_, k) => k).filter((k) => k !== y).sort((a, b) => v.logits[n][b] - v.logits[n][a]);
  return [y, ...ranked.slice(0, TEN - 1)].sort((a, b) => a - b);
}

function drawTable(view) {
  const { names, rows, shown, v, n, y, K } = view, p = v.softmax;
  const table = byId("table"), active = table.contains(document.activeElement);
  const columns = active && table.dataset.columns ? JSON.parse(table.dataset.columns) : columnsShown(view);
  const key = JSON.stringify([state.preset, K, shown, columns]);
  if (key !== tableKey) { tableKey = key; table.dataset.columns = JSON.stringify(columns); buildTable(view, columns); }
  const best = p[n].indexOf(Math.max(...p[n])), hits = rows.filter((_, m) => p[m].indexOf(Math.max(...p[m])) === v.label[m]).length;
  say("says-table", strong(rows[n]), " is labelled ", strong(names[y]), best === y ? ", and the model agrees, with probability " : `, but the model says ${names[best]}; it gives ${names[y]} `, strong(number(p[n][y])), `. It is right in ${hits} of ${rows.length} rows.`,
    columns.length < K ? ` ${columns.length} of ${K} classes are shown.` : "");
  [...table.tBodies[0].rows].forEach((line, m) => {
    const top = p[m].indexOf(Math.max(...p[m]));
    line.classList.toggle("chosen", m === n);
    line.querySelector(".verdict").textContent = top === v.label[m] ? "✓ right" : `✗ ${short(names[top], 10)}`;
    const select = line.querySelector("select");
    if (document.activeElement !== select) select.value = v.label[m];
    for (const cell of line.querySelectorAll("td[data-k]")) {
      const k = Number(cell.dataset.k), input = cell.firstChild;
      if (document.activeElement !== input && (input.value === "" || Number(input.value) !== v.logits[m][k])) input.value = v.logits[m][k];
      cell.classList.toggle("right", k === v.label[m]);
      const said = number(p[m][k]);
      const [figure, bar] = cell.lastChild.childNodes;
      if (figure.data === said && bar.dataset.p === said) continue;
      figure.data = bar.dataset.p = said;
      bar.style.width = `${100 * p[m][k]}%`;
    }
  });
}

function buildTable({ names, rows, shown }, columns) {
  const head = make("tr", {}, make("th", { scope: "col" }, "row"), make("th", { scope: "col" }, "label"), ...columns.map((k) => make("th", { scope: "col", title: names[k] }, names[k])), make("th", { scope: "col" }, "largest"));
  const body = rows.map((name, m) => {
    const row = shown[m];
    const select = make("select", { "aria-label": `label of ${name}` }, ...names.map((words, k) => make("option", { value: k }, words)));
    select.addEventListener("change", () => change((s) => { s.labels[row] = Number(select.value); s.row = row; }));
    const cells = columns.map((k) => {
      const input = make("input", { type: "number", step: "any", value: "", "aria-label": `logit of ${name}, ${names[k]}` });
      input.addEventListener("input", () => {
        if (!within(input.value, -1e6, 1e6)) return;
        change((s) => { s.logits[row] = widened(s.logits[row], k); s.logits[row][k] = Number(input.value); s.row = row; });
        const cell = input.parentElement;
        cell.classList.remove("changed"); void cell.offsetWidth; cell.classList.add("changed");
      });
      input.addEventListener("blur", () => draw());
      return make("td", { "data-k": k }, input, make("span", { class: "p" }, "–", make("i")));
    });
    return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, select), ...cells, make("td", { class: "verdict" }));
  });
  byId("table").replaceChildren(make("caption", { class: "hidden" }, "Logits and probabilities"), make("thead", {}, head), make("tbody", {}, ...body));
}

const widened = (row, k) => Array.from({ length: Math.max(row.length, k + 1) }, (_, i) => row[i] ?? 0);

// Predict, then reveal: a question hides the answer of its panel until it is answered.
const QUESTIONS = {
  target: { ask: ({ names, y, best }) => `How large is the target of ${names[y]}?`, choices: ({ best }) => [best.kept, best.on, 1], right: ({ best }) => best.on,
    words: (x) => number(x), after: ({ best }) => `1 − ε = ${number(best.kept)} is what it keeps; ε/K comes back to it.` },
  loss: { ask: ({ state }) => `Against plain cross-entropy, is this row’s loss with ε = ${trim(state.eps, 4)} larger or smaller?`, choices: () => [1, 0, -1], words: (x) => ["smaller", "the same", "larger"][x + 1],
    right: ({ v, n }) => Math.sign(Math.abs(v.row_loss[n] - v.label_loss[n]) < 1e-9 ? 0 : v.row_loss[n] - v.label_loss[n]), after: () => "Smoothing also asks for some mass on the wrong classes; a sure model pays for that." },
  prediction: { ask: ({ names, y }) => `Against its target, is the model too sure of ${names[y]} or not sure enough?`, choices: () => [1, 0, -1], words: (x) => ["not sure enough", "just right", "too sure"][x + 1],
    right: ({ hot, n, y }) => (Math.abs(hot.heated_gap[n][y]) < 5e-4 ? 0 : Math.sign(hot.heated_gap[n][y])), after: ({ names, y, v, n }) => `The target of ${names[y]} is ${number(v.target[n][y])}.` },
  push: { ask: ({ names, y, v, n }) => `The model gives ${names[y]}, the label, ${number(v.softmax[n][y])}. Which way does training push its logit?`, choices: () => [1, 0, -1], words: (x) => ["down", "nowhere", "up"][x + 1],
    right: ({ v, n, y }) => (Math.abs(v.push[n][y]) < 5e-4 ? 0 : Math.sign(v.push[n][y])), after: ({ best }) => `It turns round at ${number(best.on)}.` },
  stop: { ask: ({ K }) => `How far does training want the right logit to lead the ${K - 1} others?`, choices: ({ best }) => [...new Set([1, best.optimum_gap, 10, Infinity])].sort((a, b) => a - b), words: (x) => (x === Infinity ? "without end" : number(x, 1)),
    right: ({ best }) => best.optimum_gap, after: ({ best }) => `The bottom of the bowl lies at ${number(best.optimum_gap)}.` },
  train: { ask: () => "After 2,000 steps without smoothing, does the lead still grow?", choices: () => [1, 0], words: (x) => (x ? "yes, ever more slowly" : "no, it has settled"), right: () => 1, after: () => "It grows like the logarithm of the steps." },
  points: { ask: ({ state }) => `With ${state.noise || "none"} of ${TRAIN.label.length} labels wrong: on fresh points, whose calibration error is smaller?`, choices: () => [-1, 1, 0], words: (x, { state }) => (x ? (x < 0 ? "that of hard labels" : `that of ε = ${trim(state.eps, 4)}`) : "too near to say"),
    right: (view) => nearer(view), after: (view) => `${both(view, Infinity).map((m, i) => `${m.ece.toFixed(3)} for ${i ? `ε = ${trim(view.state.eps, 4)}` : "hard labels"} (by chance ${byChance(m)})`).join(", ")}.` },
  heat: { ask: () => "Made equally unsure, which model still says which wrong class was nearly right?", choices: () => [0, 1, 2], words: (x) => ["one cooled by a temperature", "one trained with smoothing", "both"][x],
    right: () => 0, after: () => "Dividing keeps the order of the logits; smoothing trains the wrong ones to be equal." },
};

function drawQuestions(names = Object.keys(QUESTIONS)) {
  const view = evaluated(state);
  for (const name of names) {
    const question = QUESTIONS[name];
    const ask = byId(`ask-${name}`), answer = ask.nextElementSibling;
    answer.hidden = state.predict;
    ask.replaceChildren();
    if (!state.predict || (name === "points" && state.tab !== name)) continue; // its answer takes a training run
    const truth = question.right(view);
    const reply = make("p", { role: "status" });
    const choices = question.choices(view).map((x, i) => {
      const radio = make("input", { type: "radio", name: `ask-${name}`, value: i });
      return [radio, x, make("label", {}, radio, " ", question.words(x, view))];
    });
    const reveal = make("button", { type: "button" }, "Reveal");
    reveal.addEventListener("click", () => {
      const chosen = choices.find(([radio]) => radio.checked);
      answer.hidden = false;
      say(reply.id, chosen && chosen[1] === truth ? strong("Yes. ") : strong(`It is: ${question.words(truth, view)}. `), question.after(view));
      measure(); draw();
    });
    reply.id = `reply-${name}`;
    ask.append(make("fieldset", {}, make("legend", {}, question.ask(view)), ...choices.map(([, , label]) => label)), reveal, reply);
  }
  drawTabs();
}

function play() {
  clearInterval(playing);
  if (playing) { playing = 0; byId("play").textContent = "Play"; return; }
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) { stepOn(); return; }
  if (state.tab === "points") both({ state: { ...state, time: LONGEST } }, Infinity); // trained now, so that no frame waits
  if (state.time >= LONGEST) change((s) => { s.time = 0; });
  byId("play").textContent = "Pause";
  playing = setInterval(() => {
    slide((s) => { s.time = Math.min(LONGEST, Math.max(s.time + 1, timeOf(placeOf(s.time) + 1))); });
    if (state.time >= LONGEST) { clearInterval(playing); playing = 0; byId("play").textContent = "Play"; }
  }, 50);
}

const stepOn = () => change((s) => { s.time = s.time >= LONGEST ? 0 : Math.min(LONGEST, Math.max(1, s.time * 2)); });

async function copy() {
  history.replaceState(null, "", `#${writeAddress(state)}`);
  try { await navigator.clipboard.writeText(location.href); byId("status").textContent = "The link is copied: it opens this page as it stands now."; }
  catch { byId("status").replaceChildren("Copy this link: ", make("input", { type: "text", readonly: true, "aria-label": "link to this state", value: location.href, id: "link" })); byId("link").select(); }
}

function listen() {
  const on = (id, event, how) => byId(id).addEventListener(event, (e) => how(e.target));
  on("eps", "input", (x) => slide((s) => { s.eps = Number(x.value); }));
  on("eps-exact", "input", (x) => within(x.value, 0, 1) && change((s) => { s.eps = Number(x.value); }));
  on("eps-exact", "blur", () => draw());
  on("row", "change", (x) => change((s) => { s.row = Number(x.value); }));
  on("preset", "change", (x) => { change((s) => { Object.assign(s, fresh(x.value, s.predict)); }); drawQuestions(); });
  on("classes", "input", (x) => whole(x.value, 2, mostClasses(presetOf(state.preset))) && change((s) => { s.classes = Number(x.value); }));
  on("classes", "blur", () => draw());
  on("temperature", "input", (x) => slide((s) => { s.temperature = Number((10 ** Number(x.value)).toPrecision(4)); }));
  on("logit", "input", (x) => slide((s) => { const y = s.labels[s.row]; s.logits[s.row] = widened(s.logits[s.row], y); s.logits[s.row][y] = Number(x.value); }));
  on("noise", "input", (x) => slide((s) => { s.noise = Number(x.value); }));
  for (const tab of TABS) on(`tab-${tab}`, "click", () => { change((s) => { s.tab = tab; }); if (tab === "points" && state.predict && !byId("ask-points").hasChildNodes()) drawQuestions([tab]); });
  document.querySelector("[role=tablist]").addEventListener("keydown", (e) => {
    const to = { ArrowRight: TABS.indexOf(state.tab) + 1, ArrowLeft: TABS.indexOf(state.tab) - 1, Home: 0, End: -1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    const tab = byId(`tab-${TABS.at(to % TABS.length)}`);
    tab.click(); tab.focus();
  });
  on("time", "input", (x) => slide((s) => { s.time = timeOf(Number(x.value)); }));
  on("play", "click", play);
  on("step", "click", stepOn);
  on("rewind", "click", () => change((s) => { s.time = 0; }));
  on("wrong-target", "change", (x) => change((s) => { s.wrong.target = Number(x.value); }));
  on("wrong-logarithm", "change", (x) => change((s) => { s.wrong.logarithm = x.value; }));
  on("wrong-base", "change", (x) => change((s) => { s.wrong.ten = Number(x.value); }));
  on("wrong-sum", "change", (x) => change((s) => { s.wrong.sum = Number(x.value); }));
  for (const mode of ["explore", "predict"]) on(mode, "change", () => { change((s) => { s.predict = mode === "predict"; }); drawQuestions(); });
  on("copy", "click", copy);
  on("print", "click", () => print());
  addEventListener("beforeprint", finish);
  on("reset", "click", () => { change((s) => { Object.assign(s, fresh(s.preset)); }); drawQuestions(); });
  on("quiz-next", "click", () => { quiz.at = (quiz.at + 1) % QUIZ.length; say("quiz-reply", ""); drawQuiz(evaluated(state)); });
  addEventListener("hashchange", () => { state = readAddress(location.hash); drawQuestions(); draw(); });
  new ResizeObserver(() => { measure(); draw(true); }).observe(document.querySelector("main"));
  for (const [event, hot] of [["pointerover", true], ["pointerout", false]]) {
    document.addEventListener(event, (e) => {
      const k = e.target.closest?.("[data-k]")?.dataset.k;
      if (k !== undefined) for (const one of document.querySelectorAll(`[data-k="${Number(k)}"]`)) one.classList.toggle("hot", hot);
    });
  }
}

function begin() {
  byId("families").replaceChildren(...DATA.families.map((family, i) => make("label", { title: family.says }, make("input", { type: "radio", name: "family", value: i }), ` ${family.name === "uniform" ? "all K" : family.name === "others" ? "the K−1 wrong ones" : family.name} `)));
  for (const one of document.querySelectorAll('input[name="family"]')) one.addEventListener("change", () => change((s) => { s.family = Number(one.value); }));
  options(byId("wrong-target"), DATA.wrong.map((family, i) => [i, i ? family.name : "right: ε over all K"]), state.wrong.target);
  byId("quiz-answers").replaceChildren(...QUIZ.map(([name], i) => {
    const button = make("button", { type: "button" }, name);
    button.addEventListener("click", () => {
      const yes = i === quiz.at, wrong = QUIZ[quiz.at][1];
      if (yes) change((s) => { s.wrong = { ...wrong }; });
      say("quiz-reply", yes ? strong("Yes: ") : strong("No. "), yes ? signature(mistakenly(evaluated(state), wrong), wrong, evaluated(state).rows.length) : "Look at the ratio of the two numbers, row by row.");
    });
    return button;
  }));
  writePoints();
  listen();
  measure();
  drawQuestions();
  draw();
  watch();
}

begin();

// The numbers behind the figures, for a browser's console and for the tests.
globalThis.labelsmooth = { core, evaluated: () => evaluated(state), state: () => state, finish, address: () => writeAddress(state), trained, temperatureFor, both: () => both({ state }, Infinity) };

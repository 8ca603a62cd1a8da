"""qins gate: reports that are about other things, or were not measured alike; a review in the place of another."""
import support
from test_gate import Gates


class Settings(Gates):
    """Reports that are about other things, or were measured otherwise."""

    def notes(self):
        return {name: gate["notes"] for name, gate in self.gates.items() if gate["notes"]}

    def test_alike(self):
        self.review(check=0)
        self.assertEqual(self.notes(), {})

    def test_other_windows(self):
        """Each figure has its bar, so the gate is judged; but it is said, where it is decided, too."""
        perplexity = self.part("native/v-single.json", "tests", "perplexity")
        perplexity["context"] = 512
        perplexity["candidate"]["tokens"] = 19456
        self.review(check=0)
        notes = self.notes()
        self.assertEqual(list(notes), ["2-3"])
        self.assertIn("not measured alike", notes["2-3"][0])
        for says in ("context 512, tokens of text 19456 in ", "v-single.json",
                     "context 256, tokens of text 19968 in ", "native/v-all.json; "):
            self.assertIn(says, notes["2-3"][0])
        self.assertNotIn("windows as", notes["2-3"][0])
        self.assertIn("2-3: its reports were not measured alike", self.printed)
        page = (self.dir / "review/index.html").read_text()
        self.assertEqual(page.count("not measured alike"), 2)

    def test_other_text(self):
        self.reports["kv/6.json"]["text"]["fingerprint"] = "ab" * 16
        self.review(check=0)
        self.assertEqual(set(self.notes()), {"1-2", "6-production"})
        self.assertIn("text abababababab… in ", self.notes()["1-2"][0])

    def test_what_was_not_measured_differs_from_nothing(self):
        del self.part("kv/8.json", "tests", "perplexity")["context"]
        self.review(check=0)
        self.assertEqual(self.notes(), {})

    def test_analysis_of_another_model(self):
        model = self.reports["analysis/entropy_analysis.json"]["model"]
        model["fingerprint"] = "22" * 16
        review = self.review()
        self.assertIn("different models", review["conflicts"][0])
        self.assertIn("different models", self.criteria["3-4/cold-share"]["reason"])
        del model["fingerprint"]  # as earlier versions wrote it
        self.review()
        for c in ("3-4/cold-share", "3-4/cold-ratio", "2-3/v-decodes"):
            self.assertIn("does not say which model", self.criteria[c]["reason"])

    def test_analysis_of_another_archive(self):
        self.reports["analysis/entropy_analysis.json"]["archive"]["archive_hash"] = "22" * 16
        self.review()
        self.assertIn("different archives", self.criteria["3-4/cold-ratio"]["reason"])

    def test_analysis_of_another_transport(self):
        self.part("analysis/entropy_analysis.json", "transport", "study")["calibration_fingerprint"] = "22" * 16
        self.review()
        self.assertIn("different transports", self.criteria["2-3/v-decodes"]["reason"])

    def test_previous_is_replaced(self):
        """A review in the place of the one before: read first, and its path is no longer its."""
        self.review(check=0)
        first = (self.dir / "review/gate_review.json").read_bytes()
        (self.dir / "link").symlink_to("review")
        self.part("validation.json", "tests", "sampling")["top_k"][9]["overlap"] = 0.96
        review = self.review("--previous", self.dir / "link")
        self.assertIsNone(review["previous"]["path"])
        self.assertEqual(review["number"], 2)
        (earlier,) = review["history"]
        self.assertEqual(earlier["fingerprint"], review["previous"]["fingerprint"])
        self.assertTrue(earlier["passed"])
        overlap = self.criteria["pattern-a/c-top10"]
        self.assertEqual((overlap["status"], overlap["previous"]["status"]), ("fail", "pass"))
        (self.dir / "kept").mkdir()
        (self.dir / "kept/gate_review.json").write_bytes(first)
        other = self.review("--previous", self.dir / "kept")
        self.assertEqual(other["previous"]["path"], str(self.dir / "kept/gate_review.json"))
        self.assertEqual(other["previous"]["fingerprint"], earlier["fingerprint"])


if __name__ == "__main__":
    support.main()

retake drop shoot --prompt "a watercolor painting, soft morning light" --mode flex_1 --dry-run
retake drop shoot --prompt "a watercolor painting, soft morning light" --mode flex_1 --wait
retake retry --failed --prefix shoot/
retake cost --prefix shoot/
retake gallery

retake drop clip.mp4 --prompt "a watercolour painting, soft morning light" --mode flex_1 --wait
retake show clip.mp4   # its story: states, times, cost
retake cost            # per day, per folder, left of today's budget
retake gallery         # before and after: open gallery/index.html

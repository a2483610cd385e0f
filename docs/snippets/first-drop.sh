retake drop clip.mp4 --prompt "a watercolor painting, soft morning light" --mode flex_1 --wait
retake show clip.mp4   # states, times, and cost of the job
retake cost            # cost per day and folder, and what is left of today's budget
retake gallery         # before and after; open gallery/index.html
